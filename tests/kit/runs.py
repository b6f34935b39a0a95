"""Attempts at imports as the history has them, and a history that is unavailable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.files.base import ContentFile
from django.db import connection

from django_import_progress.history.models import ImportRun

from .tracked import JOB

STARTED = datetime(2026, 5, 1, 12, tzinfo=UTC)
REPORT = b"\xef\xbb\xbfrow,line,reason,name\r\n3,4,no name,\r\n"


def past_run(job_id: str = JOB, *, report: bytes | None = None, **fields: Any) -> ImportRun:
    """Create the run of a job that has ended, unless `fields` say otherwise."""
    run = ImportRun.objects.create(
        **{
            "job_id": job_id,
            "namespace": "import_progress",
            "status": "done",
            "total_rows": 10,
            "processed_rows": 10,
            "started_at": STARTED,
            "ended_at": STARTED + timedelta(seconds=61),
            "label": "Products",
            **fields,
        }
    )
    if report is not None:
        run.report.save("rejected.csv", ContentFile(report))
    return run


@contextmanager
def without_the_table() -> Iterator[None]:
    """Let each query of the history fail."""
    table = ImportRun._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
        try:
            yield
        finally:
            cursor.execute(f"ALTER TABLE {table}_away RENAME TO {table}")
