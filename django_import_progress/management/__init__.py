"""The management command `import_progress`."""
