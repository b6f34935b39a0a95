"""The app's configuration."""

from django.apps import AppConfig


class AirportsConfig(AppConfig):
    """Airports."""

    name = "airports"
    default_auto_field = "django.db.models.BigAutoField"
