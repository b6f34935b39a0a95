"""The report of an attempt's rejected rows as a file in a storage."""

from __future__ import annotations

import re
import secrets
from tempfile import SpooledTemporaryFile
from typing import IO, Any, cast

from django.core.files import File

from ..core.rejects import Report
from ..tracker.rejects.csv_file import csv_lines
from .models import ImportRun

MEMORY_BYTES = 1024 * 1024
"""A larger file is written to disk before it is stored."""


def save_report(pk: int, report: Report, using: str) -> None:
    """Store the report of a run, unless it has one, or was deleted since.

    Args:
        pk: the run's primary key.
        report: its rejected rows.
        using: the alias of the database.

    Raises:
        Exception: whatever the storage raises.
    """
    run = ImportRun.objects.using(using).filter(pk=pk, report="").first()
    if run is None or not report.rejects:
        return
    field: Any = run.report.field
    job = re.sub(r"[^A-Za-z0-9._-]", "_", run.job_id or "")[:100]  # Windows allows no ":".
    # Rows may be private, and a storage may publish its files: the name cannot be guessed.
    name = f"rejected-{job}-{run.attempt}-{secrets.token_hex(8)}.csv"
    with SpooledTemporaryFile(MEMORY_BYTES) as file:
        for line in csv_lines(report):
            file.write(line.encode())
        file.seek(0)
        storage = run.report.storage
        wanted = field.generate_filename(run, name)
        content: Any = File(cast("IO[bytes]", file), name)
        stored = storage.save(wanted, content, max_length=field.max_length)
    if not ImportRun.objects.using(using).filter(pk=pk, report="").update(report=stored):
        storage.delete(stored)  # Another process was faster, or the run was deleted.
