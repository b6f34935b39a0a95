"""The app configuration."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _

from .checks import check_security, check_settings, check_static_files, check_url_namespaces


class ImportProgressConfig(AppConfig):
    """App configuration that registers the system checks."""

    name = "django_import_progress"
    verbose_name = _("Import progress")

    def ready(self) -> None:
        """Register the system checks; called by Django once all apps are loaded."""
        checks.register(check_settings)
        checks.register(check_url_namespaces, checks.Tags.urls)
        checks.register(check_static_files, checks.Tags.staticfiles)
        checks.register(check_security, checks.Tags.security)
