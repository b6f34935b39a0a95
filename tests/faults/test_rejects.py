"""Redis fails while rows are rejected: nothing is lost or kept twice, and the import goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from django_import_progress import SyncProgressManager, create_sync_redis_client, track_import
from django_import_progress.core import rejects
from django_import_progress.tracker import writer
from django_import_progress.tracker.rejects import log
from django_import_progress.tracker.rejects.log import RejectLog
from tests.kit.controls import without
from tests.kit.managers import manager_on
from tests.kit.processes import DURABLE, RedisProcess, valkey_binary
from tests.kit.proxy import Proxy
from tests.kit.tracked import JOB, end_writers
from tests.kit.waiting import wait_for

from .naive import edit

KEY, LIST = f"import_progress:hash:{JOB}", f"import_progress:rejects:{JOB}"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send a few rows at a time, so that some of them are interrupted."""
    monkeypatch.setattr(log, "CHUNK_BYTES", 100)


def kept(jobs: SyncProgressManager) -> list[Any]:
    return [reject["row"] for reject in jobs.rejects(JOB)]


def has_kept(jobs: SyncProgressManager, count: int) -> None:
    wait_for(lambda: kept(jobs) == list(range(1, count + 1)), f"{count} rejected rows")


def reject(job: Any, count: int) -> None:
    for row in job.rows(range(count)):
        job.reject([row], "no")


def never_resends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what Redis has once accepted."""
    send = RejectLog.send

    def once(self: RejectLog, write: Callable[..., int]) -> bool:
        def believed(stored: int, entries: list[bytes]) -> int:
            return rejects.REFUSED if write(stored, entries) < 0 else stored + len(entries)

        return send(self, believed)

    monkeypatch.setattr(RejectLog, "send", once)


@without(never_resends)
def test_after_redis_was_emptied_the_whole_report_is_written_again(
    jobs: SyncProgressManager, defence: bool
) -> None:
    with track_import(JOB) as job:
        reject(job, 20)
        has_kept(jobs, 20)
        jobs.redis.flushall()
        reject(job, 10)
    assert kept(jobs) == list(range(1, 31))


@without(never_resends)
def test_a_report_that_was_lost_alone_is_written_again(
    jobs: SyncProgressManager, defence: bool
) -> None:
    with track_import(JOB) as job:
        reject(job, 20)
        has_kept(jobs, 20)
        jobs.redis.delete(LIST)
    assert kept(jobs) == list(range(1, 21))


def test_rows_that_are_rejected_during_an_outage_are_kept() -> None:
    end_writers()
    with (
        RedisProcess(valkey_binary(), *DURABLE) as process,
        create_sync_redis_client(process.url) as client,
    ):
        jobs = SyncProgressManager(client)
        with track_import(JOB, manager=jobs) as job:
            reject(job, 10)
            has_kept(jobs, 10)
            process.kill()
            reject(job, 10)
            process.start()
            has_kept(jobs, 20)
        assert kept(jobs) == list(range(1, 21))


def appends_what_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    edit(monkeypatch, "ADD_REJECTS", ("redis.call('LTRIM', KEYS[2], 0, known)", ""))
    edit(monkeypatch, "ADD_REJECTS", ("redis.call('LLEN', KEYS[2]) - 1 == known", "true"))


@without(appends_what_is_sent_again)
def test_a_command_whose_reply_is_lost_appends_nothing_twice(
    jobs: SyncProgressManager, server: RedisProcess, defence: bool
) -> None:
    with (
        Proxy(server.port) as proxy,
        create_sync_redis_client(proxy.url) as client,
        track_import(JOB, manager=SyncProgressManager(client)) as job,
    ):
        reject(job, 1)
        has_kept(jobs, 1)  # Now Redis knows the script.
        proxy.swallow(1, to="rejects")
        reject(job, 19)
        wait_for(lambda: len(kept(jobs)) >= 20, "all rejected rows")
    assert kept(jobs) == list(range(1, 21))


def the_report_stops_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an error of the report keep the snapshot from being written."""
    write_rejects = writer.Writer._write_rejects

    def raises(self: writer.Writer, *args: Any, **options: Any) -> object:
        found = write_rejects(self, *args, **options)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(writer.Writer, "_write_rejects", raises)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up soon what cannot be written."""
    monkeypatch.setattr(writer, "RETRY_SECONDS", 1)
    monkeypatch.setattr(writer, "FINAL_SECONDS", 1)


@without(the_report_stops_the_rest)
def test_a_list_that_redis_refuses_does_not_affect_the_progress(
    jobs: SyncProgressManager,
    brief: None,
    caplog: pytest.LogCaptureFixture,
    defence: bool,
) -> None:
    jobs.redis.set(LIST, "of another type")
    with track_import(JOB) as job:
        reject(job, 5)
    ended = jobs.get_progress(JOB)
    assert ended is not None
    assert (ended["status"], ended.get("rejected_rows"), ended["attempt"]) == ("done", 5, 1)
    assert "WRONGTYPE" in caplog.text or "Cannot report" in caplog.text


def never_renews(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RejectLog, "is_due", lambda self, _: self._stored < len(self._entries))


@without(never_renews)
def test_a_report_lives_as_long_as_its_job(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch, defence: bool
) -> None:
    with track_import(JOB) as job:
        reject(job, 1)
        has_kept(jobs, 1)
        jobs.redis.expire(LIST, 10)
    ttl: Any = jobs.redis.ttl(LIST)
    assert ttl > 10


@pytest.fixture
def limited(settings: Any, jobs: SyncProgressManager) -> int:
    """A limit of 1,000 bytes."""
    settings.IMPORT_PROGRESS = {**settings.IMPORT_PROGRESS, "REJECTS_MAX_BYTES": 1000}
    return 1000


def has_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    add = RejectLog.add

    def unlimited(self: RejectLog, entry: bytes) -> bool:
        self._max_bytes = 10**9
        return add(self, entry)

    monkeypatch.setattr(RejectLog, "add", unlimited)


@without(has_no_limit)
def test_beyond_the_limit_rows_are_only_counted(
    jobs: SyncProgressManager, limited: int, defence: bool
) -> None:
    with track_import(JOB) as job:
        reject(job, 1_000)
    report = jobs.report(JOB)
    assert (report.total, len(report.rejects) + report.missing) == (1_000, 1_000)
    memory: Any = jobs.redis.memory_usage(LIST)
    assert memory < 2 * limited
    assert sum(map(len, job._reject_log._entries)) <= limited


def test_a_small_row_is_not_kept_after_a_larger_one_was_left_out(
    jobs: SyncProgressManager, limited: int
) -> None:
    with track_import(JOB) as job:
        for text in ("a", "x" * 2000, "b"):
            job.reject([text], "no")
    assert kept(jobs) == [1]
    assert jobs.report(JOB).missing == 2


async def test_both_managers_read_the_same(
    jobs: SyncProgressManager, server: RedisProcess, raw: redis.Redis
) -> None:
    with track_import(JOB) as job:
        job.reject({"a": "ü", "b": 1.5}, "no", line=3)
    async with manager_on("async", server.url) as progress:
        assert [reject async for reject in progress.rejects(JOB)] == list(jobs.rejects(JOB))
