"""The list of rejected rows in Redis: who may append to it, and what is read of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import redis

from django_import_progress import SyncProgressManager
from django_import_progress.core.keys import Keys
from django_import_progress.core.lease import Attempt, Lease
from django_import_progress.core.rejects import REFUSED, Reject, Report
from django_import_progress.redis.executor import perform_sync
from django_import_progress.service.base import now_text

from ..kit.processes import RedisProcess

LIST = "import_progress:rejects:job"
TTL_SECONDS = 3600


@pytest.fixture
def progress(each_server: RedisProcess, raw: redis.Redis) -> SyncProgressManager:
    return SyncProgressManager(raw, ttl_seconds=TTL_SECONDS)


def begin(progress: SyncProgressManager, number: int = 1) -> Attempt:
    call = progress.calls.begin(
        "job", None, Lease(f"{number}-attempt", 30), {"status": "importing"}, now_text()
    )
    attempt = perform_sync(progress.redis, call)
    assert attempt is not None
    return attempt


def add(
    progress: SyncProgressManager, attempt: Attempt, numbers: Sequence[int], stored: int
) -> int:
    entries = [Reject(row=n, line=None, reason="no", data={"a": "ü"}).encode() for n in numbers]
    call = progress.calls.add_rejects("job", attempt.lease.args[0], entries, stored=stored)
    return perform_sync(progress.redis, call)


def numbers(progress: SyncProgressManager) -> list[Any]:
    return [reject["row"] for reject in progress.rejects("job")]


def test_entries_are_appended_and_expire_with_the_job(
    progress: SyncProgressManager, raw: redis.Redis
) -> None:
    attempt = begin(progress)
    assert add(progress, attempt, [1, 2], 0) == 2
    assert add(progress, attempt, [5], 2) == 3
    assert numbers(progress) == [1, 2, 5]
    assert next(progress.rejects("job"))["data"] == {"a": "ü"}
    assert TTL_SECONDS - 10 < raw.ttl(LIST) <= TTL_SECONDS


def test_a_jobs_own_time_to_live_is_that_of_its_report(
    progress: SyncProgressManager, raw: redis.Redis
) -> None:
    progress.create("job", ttl_seconds=99_999)
    add(progress, begin(progress), [1], 0)
    assert raw.ttl(LIST) > TTL_SECONDS


def test_a_call_without_entries_renews_the_expiry(
    progress: SyncProgressManager, raw: redis.Redis
) -> None:
    attempt = begin(progress)
    add(progress, attempt, [1], 0)
    raw.expire(LIST, 5)
    assert add(progress, attempt, [], 1) == 1
    assert raw.ttl(LIST) > 5


def test_entries_that_are_sent_again_are_appended_once(progress: SyncProgressManager) -> None:
    attempt = begin(progress)
    for _ in range(2):
        assert add(progress, attempt, [1, 2], 0) == 2
    for _ in range(2):
        assert add(progress, attempt, [3], 2) == 3
    assert numbers(progress) == [1, 2, 3]


def test_of_a_list_that_has_lost_entries_the_number_is_returned(
    progress: SyncProgressManager, raw: redis.Redis
) -> None:
    attempt = begin(progress)
    add(progress, attempt, [1, 2], 0)
    raw.delete(LIST)
    assert add(progress, attempt, [3], 2) == 0
    assert numbers(progress) == []


def test_thousands_of_entries_fit_into_one_call(progress: SyncProgressManager) -> None:
    assert add(progress, begin(progress), range(10_000), 0) == 10_000
    assert len(numbers(progress)) == 10_000


def test_a_new_attempt_starts_a_new_report(progress: SyncProgressManager) -> None:
    old = begin(progress)
    add(progress, old, [1, 2], 0)
    new = begin(progress, 2)
    assert numbers(progress) == []
    assert add(progress, old, [3], 2) == REFUSED
    assert add(progress, new, [7], 0) == 1
    assert numbers(progress) == [7]


def test_a_job_that_is_deleted_takes_its_report_with_it(
    progress: SyncProgressManager, raw: redis.Redis
) -> None:
    attempt = begin(progress)
    add(progress, attempt, [1], 0)
    assert progress.delete("job")
    assert not raw.exists(LIST)
    assert add(progress, attempt, [2], 1) == REFUSED


def test_a_new_life_of_a_finished_job_has_no_report(progress: SyncProgressManager) -> None:
    attempt = begin(progress)
    add(progress, attempt, [1], 0)
    progress.update("job", {"status": "done"})
    assert numbers(progress) == [1]
    progress.set_progress("job", {"status": "importing"})
    assert numbers(progress) == []
    assert add(progress, attempt, [2], 1) == REFUSED


def test_a_job_that_is_not_there_has_no_report(progress: SyncProgressManager) -> None:
    assert numbers(progress) == []
    assert progress.report("job") == Report([], 0)


@pytest.mark.parametrize(
    ("stored", "total"),
    [("12", 12), ("12.5", 12), ('"12"', 12), ('"x"', 1), ("junk", 1), ("null", 1)],
)
def test_a_total_of_another_program_is_read_as_far_as_possible(
    progress: SyncProgressManager, raw: redis.Redis, stored: str, total: int
) -> None:
    add(progress, begin(progress), [1], 0)
    raw.hset("import_progress:hash:job", "rejected_rows", stored)
    report = progress.report("job")
    assert (report.total, report.missing) == (total, max(0, total - 1))


def test_in_a_cluster_the_list_is_in_the_slot_of_its_job() -> None:
    keys = Keys("ns", clustered=True)
    assert keys.rejects("j1") == "ns:rejects:{ns:hash:j1}"
    assert Keys("ns").rejects("j1") == "ns:rejects:j1"
