"""The example project: a site that imports airports with live progress."""

# Loaded with Django, so that `@shared_task` finds the app: the web server queues tasks as well.
from .celery import app as celery_app

__all__ = ["celery_app"]
