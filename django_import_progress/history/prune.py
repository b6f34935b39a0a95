"""Deletes old runs, and their reports in the storage."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.utils import timezone

from .models import ENDED, ImportRun
from .rows import database

logger = logging.getLogger("django_import_progress")

PORTION = 500
"""How many runs one statement deletes."""


def prune(older_than: timedelta, namespace: str | None = None, *, is_dry_run: bool = False) -> int:
    """Delete the runs that ended longer ago than `older_than`; return their number.

    A run that has not ended is never deleted. A run whose report cannot be deleted is kept, and
    deleted the next time.

    Args:
        older_than: how old runs are deleted.
        namespace: default: all.
        is_dry_run: whether only to count.
    """
    runs = ImportRun.objects.using(database())
    old = runs.filter(status__in=ENDED, ended_at__lt=timezone.now() - older_than).order_by("pk")
    if namespace is not None:
        old = old.filter(namespace=namespace)
    if is_dry_run:
        return old.count()
    deleted, last = 0, 0
    while portion := list(old.filter(pk__gt=last)[:PORTION]):
        last = portion[-1].pk
        gone = [run.pk for run in portion if _delete_report(run)]
        runs.filter(pk__in=gone).delete()
        deleted += len(gone)
    return deleted


def _delete_report(run: ImportRun) -> bool:
    try:
        if run.report:
            run.report.storage.delete(str(run.report))
    except Exception:
        logger.exception("Cannot delete the rejected rows of import %s", run.job_id)
        return False
    return True
