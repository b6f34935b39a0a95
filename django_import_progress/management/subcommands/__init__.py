"""The parts of `manage.py import_progress`, a module each."""
