"""Fixed schedules on the same machine: a tour of all that can happen, and negative controls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from django_import_progress.core import reducer
from django_import_progress.core.reducer import JobStateReducer
from django_import_progress.watch.hub import Hub, Watcher
from django_import_progress.watch.subscriber import Subscriber
from tests.faults.naive import tells_no_databases_apart
from tests.kit.controls import without
from tests.kit.waiting import wait_for

from . import bench
from .rules import Schedule

Step = Callable[[Schedule], object]


@pytest.fixture(autouse=True)
def impatience(defence: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a control fail soon."""
    monkeypatch.setattr(bench, "NOISE_SECONDS", 5.0 if defence else -2.0)


def performed(schedule: type[Schedule], *steps: Step) -> Schedule:
    """Do these steps as Hypothesis would, to the end of an example."""
    machine = schedule()
    try:
        for step in steps:
            step(machine)
            machine.what_was_shown_may_be()
    finally:
        machine.teardown()
    return machine


def to(name: str, *arguments: Any) -> Step:
    """Return a step."""
    return lambda machine: getattr(machine, name)(*arguments)


BEGIN = to("begin", ["async", "sync", "sse", "websocket"])
REST = to("rest")


def every_message_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    take = JobStateReducer.apply_message

    def forget_and_take(self: JobStateReducer, payload: bytes | str) -> bool:
        self._stored = reducer.UNKNOWN
        return take(self, payload)

    monkeypatch.setattr(JobStateReducer, "apply_message", forget_and_take)


def gone_at_the_first_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reducer, "MISSES_UNTIL_GONE", 1)


def no_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait(self: Subscriber) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Subscriber, "_request_heartbeats", wait)


def no_read_after_subscribing(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Subscriber._handle_message

    def take_messages(self: Subscriber, message: Mapping[str, Any]) -> bool:
        return message["type"] == "message" and take(self, message)

    monkeypatch.setattr(Subscriber, "_handle_message", take_messages)


def joiners_are_shown_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Hub.watch

    def watch_at_once(self: Hub, *arguments: Any, **options: Any) -> Watcher:
        watcher = watch(self, *arguments, **options)
        watcher._confirming_read = 0
        return watcher

    monkeypatch.setattr(Hub, "watch", watch_at_once)


@without(every_message_is_shown)
def test_a_message_that_is_told_again_takes_nobody_back(schedule: type[Schedule]) -> None:
    rows = to("import_rows", 0, "direct", 4, 0.05)
    performed(schedule, BEGIN, rows, REST, to("say_again", 0, None, 1), to("let_pass", 0.1))


@without(gone_at_the_first_miss)
def test_a_job_that_is_written_again_at_once_is_not_gone(schedule: type[Schedule]) -> None:
    watchers = [to("watch", 0, "sync", "")] * 4
    again = to("begin_again", 0, "set_progress", 0.3)
    rounds = [to("lose", 0, "FLUSHALL", "direct", 0.3), again, REST] * 3
    performed(schedule, BEGIN, *watchers, REST, *rounds)


@without(no_heartbeats)
def test_what_is_stored_in_silence_is_seen(schedule: type[Schedule]) -> None:
    silently = to("begin_again", 0, "set_progress", 0.0)
    performed(schedule, BEGIN, REST, silently, REST)


@without(no_read_after_subscribing)
def test_what_was_told_while_nobody_heard_is_seen(silent_schedule: type[Schedule]) -> None:
    begin = to("begin", ["async", "sse"])
    performed(silent_schedule, begin, REST, to("kill_clients", "pubsub"), REST)


@without(joiners_are_shown_what_is_known)
def test_who_joins_is_shown_nothing_old(silent_schedule: type[Schedule]) -> None:
    join = to("watch", 0, "async", "")
    silently = to("begin_again", 0, "set_progress", 0.0)
    performed(silent_schedule, to("begin", ["async"]), REST, silently, join, REST)


@without(tells_no_databases_apart)
def test_what_another_database_says_of_the_same_job_is_not_shown(schedule: type[Schedule]) -> None:
    writes = [to("write_elsewhere", 0, verb, "importing") for verb in ("set_progress", "update")]
    performed(schedule, BEGIN, REST, *writes, to("let_pass", 0.1), REST)


def test_a_tour_of_all_that_can_happen(schedule: type[Schedule]) -> None:
    links = [to("link", fault) for fault in ("hold", "calm", "swallow", "cut")]
    losses = [to("lose", n, how, "direct", 0.0) for n, how in enumerate(("delete", "expire"))]
    starts = [
        step
        for how in ("with data", "empty", "rolled back")
        for step in (to("begin_again", 1, "create", 0.0), to("kill", how), to("rest"))
    ]
    performed(
        schedule,
        BEGIN,
        to("watch", 0, "sse", ""),
        REST,
        to("kill", "rolled back"),
        to("remember"),
        to("kill", "rolled back"),
        to("begin_again", 0, "create", 0.0),
        to("watch", 0, "sse", ""),
        REST,
        *losses,
        to("let_pass", 0.1),
        to("publish", 1, "importing", True, "another program"),
        to("publish", 1, None, False, "the writer"),
        *(to("write_elsewhere", 0, verb, "done") for verb in ("set_progress", "update", "delete")),
        to("say_again", 0, b"junk", 0),
        to("freeze", 0.1),
        to("freeze", 0.7),
        to("lose", 1, "expire", "direct", 0.0),
        to("begin_again", 0, "set_progress", 0.0),
        to("publish", 1, None, True, "one that remembers nothing"),
        to("lose", 1, "expire", "direct", 0.0),
        to("kill", "with data"),
        to("publish", 1, None, True, "another program"),
        to("start"),
        *starts,
        *links,
        to("import_rows", 0, "wire", 3, 0.0),
        to("watch", 0, "sse", f"end-{0:032}"),
        to("end", 0, "direct", "done", 0.0),
        REST,
        to("reconnect", 0),
        to("watch", 0, "sse", "last"),
        to("write", 0, "direct", "create", "importing", 1, 1),
        to("drop", 0),
        to("lose", 0, "expire", "direct", 0.0),
        to("watch", 0, "sync", ""),
        REST,
        to("lose", 0, "FLUSHALL", "direct", 0.0),
        to("watch", 0, "sse", f"end-{0:032}"),
        lambda machine: wait_for(lambda: machine.watchers[-1].over, "a refusal"),
    )
