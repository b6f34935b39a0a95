"""The subcommands of `manage.py import_progress`, one module each, however small."""
