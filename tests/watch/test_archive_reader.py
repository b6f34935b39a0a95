"""Watched jobs are looked up in the archive, also after an error."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

from django_import_progress.watch.archive_reader import Absence, ArchiveReader


async def test_after_an_error_jobs_are_looked_up_again() -> None:
    tasks: list[asyncio.Task[None]] = []
    applied: list[tuple[object, bool]] = []

    def start(looking_up: Coroutine[Any, Any, None]) -> None:
        tasks.append(asyncio.ensure_future(looking_up))

    def apply(read: object, stored: object, counts: bool) -> None:
        applied.append((stored, counts))
        if len(applied) == 1:
            raise ValueError("a fault")

    reader = ArchiveReader(start, apply)
    keys = SimpleNamespace(namespace="import_progress")
    job = SimpleNamespace(view=SimpleNamespace(job_id="a"), calls=SimpleNamespace(keys=keys))
    read: Any = SimpleNamespace(job=job)
    reader.add(Absence(read, None, True))
    await asyncio.wait(tasks)
    assert isinstance(tasks[0].exception(), ValueError)
    reader.add(Absence(read, None, True))
    reader.add(Absence(read, None, False))  # One task does both.
    await asyncio.wait(tasks)
    assert len(tasks) == 2
    assert applied[1:] == [(None, True), (None, False)]
