"""Naive versions of the worker's side: switches for negative controls."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

import pytest
import redis

from django_import_progress.redis import executor
from django_import_progress.service import registry
from django_import_progress.tracker import ImportTracker, process_exit, reporting_thread, writer
from django_import_progress.tracker.awaitable_event import AwaitableEvent
from django_import_progress.tracker.fields import without_time
from django_import_progress.tracker.writer import Writer
from django_import_progress.watch.subscriber import Subscriber

from .naive import edit

T = TypeVar("T")


def writes_in_the_loops_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write after each row, and wait for the response."""

    def rows(self: ImportTracker, iterable: Iterable[T]) -> Iterator[T]:
        for row in iterable:  # pragma: no branch - the tests fail before its end
            yield row
            self.advance()
            self._writer._try_to_write()

    monkeypatch.setattr(ImportTracker, "rows", rows)
    monkeypatch.setattr(writer, "INTERVAL_SECONDS", 3600)


def lets_refusals_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do so, and raise the errors of Redis."""
    writes_in_the_loops_own_thread(monkeypatch)
    try_to_write = Writer._try_to_write

    def write(self: Writer) -> bool:
        if threading.get_ident() == self.ident:
            return try_to_write(self)
        return self._write_changes() is None

    monkeypatch.setattr(Writer, "_try_to_write", write)


def waits_in_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Block the event loop while waiting for the writer."""

    async def wait(flag: AwaitableEvent, seconds: float) -> bool:
        return flag.wait(seconds)

    monkeypatch.setattr(AwaitableEvent, "wait_async", wait)


def writes_the_final_status_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the final status like any other update."""
    monkeypatch.setattr(Writer, "_write_final", Writer._try_to_write)


def retries_the_final_status_without_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stay in the `with` block until the final status is written."""
    monkeypatch.setattr(writer, "FINAL_SECONDS", 3600)
    monkeypatch.setattr(reporting_thread, "LEAVE_SECONDS", 3600)


def gives_up_with_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry the final status only until the `with` block is left."""
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0)


def waits_during_a_known_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat each final status as the first write."""
    last = Writer._write_final

    def write(self: Writer) -> None:
        self._failing = False
        last(self)

    monkeypatch.setattr(Writer, "_write_final", write)
    monkeypatch.setattr(Writer, "_is_redis_unavailable", False)


def waits_for_each_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enter only when Redis has responded to the first write."""

    async def wait(flag: AwaitableEvent, *_: Any, **__: Any) -> None:
        flag.wait(3600)

    monkeypatch.setattr(AwaitableEvent, "wait_briefly", wait)


def leaves_nothing_for_the_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process end, and its threads with it."""
    monkeypatch.setenv("TEST_SITE_SWITCH", "tests.faults.naive_worker.registers_no_exit_wait")


def registers_no_exit_wait(  # pragma: no cover - in a worker
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Register nothing for the exit of the process."""
    monkeypatch.setattr(process_exit, "_wait_at_exit", lambda: None)
    monkeypatch.setattr(reporting_thread, "wait_in_rq_job", lambda: None)


def runs_what_is_delivered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat each message as a first delivery, in Celery workers."""
    monkeypatch.setenv("TEST_SITE_SWITCH", "tests.faults.naive_worker.takes_each_for_the_first")


def takes_each_for_the_first(monkeypatch: pytest.MonkeyPatch) -> None:  # pragma: no cover
    """Do so in this process."""
    from django_import_progress.contrib import celery, redelivery

    first = redelivery.Decision(redelivery.Action.RUN)
    monkeypatch.setattr(celery, "decide_and_claim", lambda *_: first)


def logs_each_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log each failure."""
    failed = Writer._failed

    def log(self: Writer, *args: Any) -> None:
        self._failing = False
        failed(self, *args)

    monkeypatch.setattr(Writer, "_failed", log)


def takes_what_changed_back_for_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat fields without a change as a successful write."""
    monkeypatch.setattr(
        Writer, "_is_up_to_date", lambda self, fields: without_time(fields) == self._written
    )
    monkeypatch.setattr(Writer, "_has_job_changed", lambda self: False)


def gives_up_writing_once_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop writing after the first refusal."""
    write = Writer._try_to_write
    monkeypatch.setattr(Writer, "_try_to_write", lambda self: self._failing or write(self))


def passes_on_what_the_client_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise redis-py's own exceptions."""
    monkeypatch.setattr(executor, "_as_unavailable", nullcontext)


def believes_that_scripts_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the digest, and never the text."""
    exchange = executor._exchange

    def send_digests(redis: Any, calls: Any, *how: Any) -> Any:
        return exchange(redis, [dataclasses.replace(call, script=None) for call in calls], *how)

    monkeypatch.setattr(executor, "_exchange", send_digests)


class _OfAnyLoop(dict[Any, Any]):
    def get(self, key: Any, default: Any = None) -> Any:  # pragma: no cover - see test_loops.py
        return next(iter(self.values()), default)


def has_one_client_for_all_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Create a client on first use, and keep it."""
    monkeypatch.setenv("NAIVE", "has_one_client_for_all_loops")
    monkeypatch.setattr(registry, "_per_loop", _OfAnyLoop())
    monkeypatch.setattr(registry, "_forget_closed_loops", lambda: None)


def closes_nothing_with_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave closing to the garbage collector."""
    monkeypatch.setenv("NAIVE", "closes_nothing_with_the_loop")
    monkeypatch.setattr(registry, "_close_with_loop", lambda *_: None)


def shares_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use one connection instead of a pool."""
    monkeypatch.setenv("NAIVE", "shares_one_connection")
    connect = partial(redis.Redis.from_url, single_connection_client=True, socket_timeout=2)
    monkeypatch.setattr(registry, "create_sync_redis_client", lambda url, **_: connect(url))


def leaves_the_log_to_the_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the logging of a lost final status to the thread."""
    monkeypatch.setattr(Writer, "give_up", lambda _: None)


def takes_a_confirmation_for_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat a confirmed subscription as a working connection."""
    handle = Subscriber._handle_message

    def note(self: Any, message: Any) -> bool:
        self.policy.note_response()
        return handle(self, message)

    monkeypatch.setattr(Subscriber, "_handle_message", note)


def takes_writes_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat the last write as the newest."""
    edit(
        monkeypatch,
        "WRITE",
        ("if stored_token == token and written >=", "if false and written >="),
        ("elseif stored_token and job.ended then", "elseif false then"),
    )
