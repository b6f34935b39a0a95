"""The subcommands of `manage.py import_progress`, one small module each: what it accepts and does."""
