"""Naive trackers and clients: switches for negative controls."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

import pytest
import redis

from django_import_progress.redis import executor
from django_import_progress.service import registry
from django_import_progress.tracker import ImportTracker, process_exit, waiting, writer
from django_import_progress.tracker.flag import Flag
from django_import_progress.tracker.samples import steady
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
    """Wait for the writer as sync code does."""

    async def wait(flag: Flag, turns: int) -> None:
        flag.wait_a_moment(turns)

    monkeypatch.setattr(Flag, "wait_a_moment_in_loop", wait)


def tries_to_tell_the_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the end without retries."""
    monkeypatch.setattr(Writer, "_write_the_last", Writer._try_to_write)


def tries_to_tell_the_end_for_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stay in the `with` block until the end is written."""
    monkeypatch.setattr(writer, "LAST_SECONDS", 3600)
    monkeypatch.setattr(waiting, "END_SECONDS", 3600)


def gives_up_when_nobody_waits_any_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop retrying to write the end when the `with` block is left."""
    monkeypatch.setattr(writer, "BESIDE_SECONDS", 0)


def waits_for_whom_it_knows_to_be_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore that Redis is known to be unavailable."""
    last = Writer._write_the_last

    def write(self: Writer) -> None:
        self._failing = False
        last(self)

    monkeypatch.setattr(Writer, "_write_the_last", write)
    monkeypatch.setattr(Writer, "_is_away", False)


def waits_for_each_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enter the `with` block only after a response to the first write."""
    monkeypatch.setattr(Flag, "wait_a_moment", lambda flag, _: flag.wait(3600))


def leaves_nothing_for_the_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process exit with its threads."""
    monkeypatch.setenv("TEST_SITE_SWITCH", "tests.faults.naive_worker.forgets_who_leaves")


def forgets_who_leaves(monkeypatch: pytest.MonkeyPatch) -> None:  # pragma: no cover - in a worker
    """Register nothing for the exit of the process."""
    monkeypatch.setattr(process_exit, "_wait_at_exit", lambda: None)
    monkeypatch.setattr(waiting, "wait_if_nothing_else_will", lambda: None)


def runs_what_is_delivered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run redelivered messages in Celery's workers."""
    monkeypatch.setenv("TEST_SITE_SWITCH", "tests.faults.naive_worker.takes_each_for_the_first")


def takes_each_for_the_first(monkeypatch: pytest.MonkeyPatch) -> None:  # pragma: no cover
    """Do so in this process."""
    from django_import_progress.contrib import celery, redelivery

    first = redelivery.Judgement(redelivery.Verdict.RUN)
    monkeypatch.setattr(celery, "judge", lambda *_: first)


def logs_each_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log every failure of an outage."""
    failed = Writer._failed

    def log(self: Writer, *args: Any) -> None:
        self._failing = False
        failed(self, *args)

    monkeypatch.setattr(Writer, "_failed", log)


def takes_what_changed_back_for_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat a value that changed back as written."""
    monkeypatch.setattr(Writer, "_is_told", lambda self, fields: steady(fields) == self._written)
    monkeypatch.setattr(Writer, "_has_news", lambda self: False)


def gives_up_writing_once_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write nothing after the first refusal."""
    write = Writer._try_to_write
    monkeypatch.setattr(Writer, "_try_to_write", lambda self: self._failing or write(self))


def passes_on_what_the_client_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise redis-py's own exceptions."""
    monkeypatch.setattr(executor, "_as_unavailable", nullcontext)


def believes_that_scripts_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the digest, and never the text."""

    async def send(redis: Any, call: Any) -> Any:
        return await redis.execute_command(*call.command)

    monkeypatch.setattr(executor, "_send", send)
    monkeypatch.setattr(
        executor, "_send_sync", lambda redis, call: redis.execute_command(*call.command)
    )


class _OfAnyLoop(dict[Any, Any]):
    def get(self, key: Any, default: Any = None) -> Any:  # pragma: no cover - see test_loops.py
        return next(iter(self.values()), default)


def has_one_client_for_all_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use one client for all event loops."""
    monkeypatch.setenv("NAIVE", "has_one_client_for_all_loops")
    monkeypatch.setattr(registry, "_per_loop", _OfAnyLoop())
    monkeypatch.setattr(registry, "_forget_closed_loops", lambda: None)


def closes_nothing_with_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave clients to the garbage collector."""
    monkeypatch.setenv("NAIVE", "closes_nothing_with_the_loop")
    monkeypatch.setattr(registry, "_close_with_loop", lambda *_: None)


def shares_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a single connection instead of a pool."""
    monkeypatch.setenv("NAIVE", "shares_one_connection")
    connect = partial(redis.Redis.from_url, single_connection_client=True, socket_timeout=2)
    monkeypatch.setattr(registry, "create_sync_redis_client", lambda url, **_: connect(url))


def leaves_the_log_to_the_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the `with` block in time, and let the thread log the result."""
    monkeypatch.setattr(Writer, "give_up", lambda _: None)


def takes_a_confirmation_for_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat a confirmed subscription as a working connection."""
    take = Subscriber._handle_message

    def note(self: Any, message: Any) -> bool:
        self.is_working = True
        return take(self, message)

    monkeypatch.setattr(Subscriber, "_handle_message", note)


def takes_writes_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apply writes in any order."""
    edit(
        monkeypatch,
        "WRITE",
        ("if token == ARGV[11] and written >=", "if false and written >="),
        ("elseif token and job.ended then", "elseif false then"),
    )
