"""The app configuration of the history."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from ..watch import archive


class ImportHistoryConfig(AppConfig):
    """App configuration of `ImportRun`: ``"django_import_progress.history"``."""

    name = "django_import_progress.history"
    label = "import_progress_history"
    verbose_name = _("Import history")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Record imports, and show those that Redis has forgotten; called by Django."""
        import_module(f"{self.name}.recorder").connect()  # It needs the models.
        archive.use(import_module(f"{self.name}.reading"))
