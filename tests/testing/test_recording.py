"""`record_imports` and the fixture `import_progress`: imports of a test run in memory."""

from __future__ import annotations

import gc
import importlib.util
import sys
import threading
import uuid
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import override_settings

from django_import_progress import (
    ImportSuperseded,
    InvalidJobId,
    ProgressUnavailable,
    get_progress_manager,
    get_sync_progress_manager,
    track_import,
)
from django_import_progress.service import registry
from django_import_progress.signals import import_finished, import_queued, import_started
from django_import_progress.testing import RecordedImports, memory, record_imports
from django_import_progress.tracker.reporting_thread import ReportingThread
from django_import_progress.tracker.writer import Writer, writers

from ..kit.controls import without


def _statuses(recorded: RecordedImports, job: Any = "job") -> list[str]:
    return [snapshot["status"] for snapshot in recorded[job].snapshots]


def uses_the_server_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    server = registry.ServerAtUrl("redis://127.0.0.1:1/0")
    monkeypatch.setattr(registry, "_server", lambda: server)


def starts_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Writer, "start", ReportingThread.start)


@without(uses_the_server_of_the_settings, starts_a_thread, fails_with=(AssertionError, KeyError))
def test_each_write_is_recorded_in_order(defence: None, import_progress: RecordedImports) -> None:
    with track_import("job", total=3, stage="rows") as job:
        assert list(job.rows("abc")) == ["a", "b", "c"]
        job.set(stage="indexing")
        job.count("created", 2)
        assert writers() == set()
    record = import_progress["job"]
    shown = [(s["status"], s["stage"], s["processed_rows"]) for s in record.snapshots]
    assert shown == [
        ("importing", "rows", 0),
        ("importing", "indexing", 3),
        ("done", "indexing", 3),
    ]
    assert (record.status, record.fields["created"]) == ("done", 2)
    assert record.fields == get_sync_progress_manager().get_progress("job")
    assert repr(record) == "<RecordedImport job: done, 3 snapshots>"
    assert repr(import_progress) == "<RecordedImports: job>"


async def test_an_asynchronous_import_is_recorded(import_progress: RecordedImports) -> None:
    async with track_import("job") as job:
        async for _ in job.rows([1, 2]):
            pass
    progress = get_progress_manager()
    assert await progress.get_progress("job") == import_progress["job"].fields
    assert _statuses(import_progress) == ["importing", "done"]
    assert [s["status"] async for s in progress.watch("job")] == ["done"]
    assert [s["status"] for s in get_sync_progress_manager().watch("job")] == ["done"]


def leaves_imports_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.MemoryServer, "write_now", lambda self: None)


@without(leaves_imports_alone)
def test_a_reader_sees_what_was_counted_until_then(
    defence: None, import_progress: RecordedImports
) -> None:
    jobs = get_sync_progress_manager()
    with track_import("job", total=4) as job:
        for number, _ in enumerate(job.rows(range(4))):
            description = jobs.describe("job")
            assert description is not None
            assert (description["processed_rows"], description["percent"]) == (number, number * 25)
            assert import_progress["job"].fields["processed_rows"] == number
            assert [listed["processed_rows"] for listed in jobs.jobs()] == [number]


async def test_an_asynchronous_reader_does_so_too(import_progress: RecordedImports) -> None:
    async with track_import("job") as job:
        job.advance(2)
        [listed] = await get_progress_manager().jobs()
        assert listed["processed_rows"] == 2


def test_a_failure_and_rejected_rows_are_recorded(import_progress: RecordedImports) -> None:
    with pytest.raises(ValidationError), track_import("job") as job:
        for row in job.rows([{"price": "x"}, {"price": "1"}]):
            with job.guard(row, line=2, atomic=False):
                if row["price"] == "x":
                    raise ValidationError("No number.")
            assert [found["reason"] for found in import_progress["job"].rejected] == ["No number."]
        raise ValidationError("The end.")
    record = import_progress["job"]
    assert (record.status, record.fields["error_message"]) == ("failed", "The end.")
    expected = {"row": 1, "line": 2, "reason": "No number.", "data": {"price": "x"}}
    assert record.rejected == [expected] == list(get_sync_progress_manager().rejects("job"))


def test_what_is_only_published_or_only_stored_is_recorded(
    import_progress: RecordedImports,
) -> None:
    jobs = get_sync_progress_manager()
    jobs.publish_update("job", {"stage": "early"}, ensure_timestamp=False)
    assert import_progress["job"].status is None
    jobs.set_progress("job", {"status": "parsing", "n": 1})
    jobs.publish_update("job", {"n": 2}, ensure_timestamp=False)
    jobs.update("job", {"n": 3})
    get_sync_progress_manager("elsewhere").publish_update("job", {"n": 4})
    jobs.set_progress("other", {"n": 5})
    job = import_progress["import_progress", "job"]
    assert [snapshot.get("n") for snapshot in job.snapshots] == [None, 1, 2, 3]
    assert (list(import_progress), len(import_progress)) == (["job", "other"], 3)


def test_a_deleted_job_keeps_its_record(import_progress: RecordedImports) -> None:
    jobs = get_sync_progress_manager()
    jobs.create("job")
    assert jobs.delete("job")
    assert (_statuses(import_progress), import_progress["job"].rejected) == (["queued"], [])


def test_an_unknown_job_is_a_key_error_that_names_the_known_ones(
    import_progress: RecordedImports,
) -> None:
    with pytest.raises(KeyError, match="No import 'job' was recorded; recorded are: none"):
        import_progress["job"]
    get_sync_progress_manager().create("other")
    known = "recorded in the namespace 'orders'; recorded are: import_progress: other"
    with pytest.raises(KeyError, match=known):
        import_progress["orders", "job"]
    with pytest.raises(InvalidJobId):
        import_progress["a b"]
    assert ("other" in import_progress, "job" in import_progress) == (True, False)


def test_a_uuid_is_found(import_progress: RecordedImports) -> None:
    job_id = uuid.uuid4()
    get_sync_progress_manager().create(job_id)
    assert import_progress[job_id].job_id == str(job_id)
    assert job_id in import_progress


def test_two_namespaces_are_kept_apart(import_progress: RecordedImports) -> None:
    get_sync_progress_manager("orders").create("job", data={"n": 1})
    assert import_progress["job"].namespace == "orders"
    get_sync_progress_manager().create("job", data={"n": 2})
    assert import_progress["job"].fields["n"] == 2
    assert import_progress["orders", "job"].fields["n"] == 1
    with override_settings(IMPORT_PROGRESS={"NAMESPACE": "orders"}):
        get_sync_progress_manager().create("later")
        assert import_progress["job"].fields["n"] == 1
    assert import_progress["later"].namespace == "orders"


@without(leaves_imports_alone)
def test_cancelling_stops_the_loop_before_the_next_row(
    defence: None, import_progress: RecordedImports
) -> None:
    rows = []
    with track_import("job") as job:
        for row in job.rows(range(5)):
            rows.append(row)
            if row == 1:
                assert get_sync_progress_manager().request_cancel("job")
                assert job.cancelled
    assert (rows, import_progress["job"].status) == ([0, 1], "cancelled")
    assert import_progress["job"].fields["processed_rows"] == 2


def test_a_second_attempt_supersedes_the_first(import_progress: RecordedImports) -> None:
    with pytest.raises(ImportSuperseded), track_import("job") as first:
        for _ in first.rows([1, 2]):
            with track_import("job") as second:
                second.advance(5)
    assert (import_progress["job"].status, import_progress["job"].fields["attempt"]) == ("done", 2)


def test_nested_blocks_record_apart() -> None:
    with record_imports() as outer:
        with track_import("outer") as job:
            with record_imports() as inner:
                with track_import("inner"):
                    pass
                job.advance(1)
            assert list(inner) == ["inner"]
            job.advance(1)
        with track_import("last"):
            pass
    assert (list(outer), list(inner)) == (["outer", "last"], ["inner"])
    assert outer["outer"].fields["processed_rows"] == 2


def test_after_the_block_the_record_is_kept_and_managers_use_redis_again() -> None:
    with pytest.raises(LookupError), record_imports() as recorded:
        with track_import("job") as job:
            job.reject(["a"], "Bad.")
        raise LookupError
    assert (recorded["job"].status, len(recorded["job"].rejected)) == ("done", 1)
    with pytest.raises(ProgressUnavailable):
        get_sync_progress_manager().get_progress("job")
    assert not any(key[0].startswith("memory:") for key in registry._sync_clients)
    assert not any(url.startswith("memory:") for url in registry._breakers)


def test_an_import_that_outlives_the_block_goes_on_in_memory() -> None:
    with record_imports() as recorded:
        job = track_import("job")
        job.__enter__()
    job.advance(3)
    assert recorded["job"].fields["processed_rows"] == 3
    job.__exit__(None, None, None)
    assert recorded["job"].status == "done"


def test_an_abandoned_import_fails(
    import_progress: RecordedImports, caplog: pytest.LogCaptureFixture
) -> None:
    job = track_import("job")
    job.__enter__()
    del job
    gc.collect()
    assert import_progress["job"].status == "failed"
    assert caplog.messages[-1] == "Import job was interrupted"


def test_threads_may_count_and_read(import_progress: RecordedImports) -> None:
    with track_import("job") as job:

        def count() -> None:
            for _ in range(20):
                job.advance()
                get_sync_progress_manager().get_progress("job")

        threads = [threading.Thread(target=count) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert import_progress["job"].fields["processed_rows"] == 60
    counts = [snapshot["processed_rows"] for snapshot in import_progress["job"].snapshots]
    assert counts == sorted(counts)


def test_the_signals_are_sent(import_progress: RecordedImports) -> None:
    received: list[Any] = []

    def receive(signal: object, job_id: str, **_: Any) -> None:
        received.append((signal, job_id))

    sent = [import_queued, import_started, import_finished]
    for signal in sent:
        signal.connect(receive)
    try:
        get_sync_progress_manager().create("job")
        with track_import("job"):
            pass
    finally:
        for signal in sent:
            signal.disconnect(receive)
    assert received == [(signal, "job") for signal in sent]


def test_without_fakeredis_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fakeredis", None)
    spec = importlib.util.find_spec(memory.__name__)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=r"pip install 'django-import-progress\[testing\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_other_commands_of_redis_are_not_recorded(import_progress: RecordedImports) -> None:
    redis: Any = get_sync_progress_manager().redis
    redis.publish("elsewhere", b"\xff")
    redis.eval("return redis.call('SET', KEYS[1], 'x')", 1, "key")
    assert redis.eval("return 1", 0) == 1
    redis.publish("import_progress:channel:job", '{"n": 1}')
    assert import_progress["job"].snapshots == [{"n": 1}]
    for text in ("no JSON", "[1]"):
        redis.publish("import_progress:channel:job", text)
    redis.eval("return redis.call('SET', KEYS[1], 'x')", 1, "import_progress:hash:text")
    assert (list(import_progress), len(import_progress["job"].snapshots)) == (["job"], 1)
