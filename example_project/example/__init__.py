"""The example project: a site that imports airports and shows how far it is."""

# Loaded with Django, so that `@shared_task` finds the app: the web server queues tasks, too.
from .celery import app as celery_app

__all__ = ["celery_app"]
