"""What the page on upgrading promises: a release lives beside the next one, which knows more."""

from __future__ import annotations

from typing import Any

import redis

from django_import_progress import SyncProgressManager, track_import

from ..kit.tracked import JOB, shows, state

LATER: dict[str, Any] = {"_later": "1"}
"""Bookkeeping of a release to come."""


def test_a_job_that_a_later_release_began_is_read_and_written(
    jobs: SyncProgressManager, foreign: redis.Redis
) -> None:
    jobs.create(JOB, owner=7)
    foreign.hset(f"import_progress:hash:{JOB}", mapping=LATER)
    assert jobs.update(JOB, {"processed_rows": 1})["processed_rows"] == 1
    assert not LATER.keys() & state(jobs).keys()
    assert foreign.hget(f"import_progress:hash:{JOB}", "_later") == b"1"


def test_what_a_later_release_tells_is_shown(
    jobs: SyncProgressManager, foreign: redis.Redis
) -> None:
    jobs.create(JOB)
    watching = jobs.watch(JOB)
    assert next(watching)["status"] == "queued"
    foreign.hset(f"import_progress:hash:{JOB}", mapping=LATER)  # Each message has it from now on.
    jobs.update(JOB, {"status": "importing"})
    assert next(watching)["status"] == "importing"
    jobs.update(JOB, {"status": "done"})
    assert [snapshot["status"] for snapshot in watching][-1] == "done"


def test_a_worker_takes_a_job_that_a_later_release_made(
    jobs: SyncProgressManager, foreign: redis.Redis
) -> None:
    jobs.create(JOB)
    foreign.hset(f"import_progress:hash:{JOB}", mapping=LATER)
    with track_import(JOB, total=2) as job:
        list(job.rows("ab"))
    shows(jobs, status="done", processed_rows=2)
