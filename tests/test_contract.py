"""The verbs, on both managers and both servers."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
import redis

from django_import_progress import JobExists, JobFinished, JobNotFound, ProgressManager

SIX_FIELDS = {
    "status": "importing",
    "stage": "batch_5",
    "total_rows": 100_000,
    "processed_rows": 50_000,
    "error_message": None,
}


async def test_set_progress_stores_exactly_what_was_written(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    job_id = uuid.uuid4()
    stored = await progress.set_progress(job_id, SIX_FIELDS)
    assert stored == {**SIX_FIELDS, "updated_at": stored["updated_at"]}
    assert await progress.get_progress(job_id) == stored
    found: Any = raw.hgetall(f"import_progress:hash:{job_id}")
    fields = {k.decode(): json.loads(v) for k, v in found.items() if not k.startswith(b"_")}
    assert fields == stored
