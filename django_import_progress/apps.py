"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _

from .checks import check_doors, check_settings, check_url_namespaces


class ImportProgressConfig(AppConfig):
    """Registers the system checks."""

    name = "django_import_progress"
    verbose_name = _("Import progress")

    def ready(self) -> None:
        """Called once by Django, when all apps are loaded."""
        checks.register(check_settings)
        checks.register(check_url_namespaces, checks.Tags.urls)
        checks.register(check_doors, checks.Tags.security)
