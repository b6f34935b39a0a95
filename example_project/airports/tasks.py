"""The import as a Celery task."""

from __future__ import annotations

from functools import partial

from celery import shared_task
from django.db import transaction

from django_import_progress.contrib.celery import ImportTask

from .importer import run_import
from .models import Import


@shared_task(bind=True, base=ImportTask)
def import_airports(self: ImportTask, import_id: str) -> None:
    """Import a file."""
    run_import(Import.objects.get(pk=import_id), self.track)


def queue_import(import_: Import) -> None:
    """Queue the import of a file. The task and its job have the id of the import.

    Raises:
        kombu.exceptions.OperationalError: Redis is out of reach; raised by the commit.
    """
    send = partial(
        import_airports.apply_async,
        args=[str(import_.pk)],
        task_id=str(import_.pk),
        progress_owner=import_.owner_id,
    )
    # After the commit: before, a fast worker would not find the import.
    transaction.on_commit(send)
