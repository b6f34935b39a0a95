"""Tests of `django_import_progress/access`."""
