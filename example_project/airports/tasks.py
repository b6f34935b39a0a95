"""What a worker does, and how to make it do so."""

from __future__ import annotations

from functools import partial

from celery import shared_task
from django.db import transaction

from django_import_progress import get_sync_progress_manager

from .importer import run_import
from .models import Import


@shared_task
def import_airports(import_id: str) -> None:
    """Import a file."""
    run_import(Import.objects.get(pk=import_id))


def queue_import(import_: Import) -> None:
    """Have a worker import the file of `import_`.

    Raises:
        ProgressUnavailable, kombu.exceptions.OperationalError: Redis is out of reach.
    """
    # Made here and not by the worker, so that the page has something to show while it waits.
    get_sync_progress_manager().create(import_.pk, owner=import_.owner_id)
    # After the commit: before it a quick worker would not find the import.
    transaction.on_commit(partial(import_airports.delay, str(import_.pk)))
