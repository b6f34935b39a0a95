"""Naive implementations: switches for negative controls."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from django_import_progress.core import reducer
from django_import_progress.core.commands import JobCommands
from django_import_progress.core.job_state import State
from django_import_progress.core.lease import Attempt
from django_import_progress.core.lua import scripts
from django_import_progress.core.reducer import JobStateReducer, ReadStart
from django_import_progress.core.snapshot import Stored, split_bookkeeping
from django_import_progress.redis.executor import perform_sync, read_all
from django_import_progress.service import sync_manager
from django_import_progress.service.manager import ProgressManager
from django_import_progress.service.sync_manager import SyncProgressManager
from django_import_progress.tracker import interrupts, tracker
from django_import_progress.tracker.writer import Writer
from django_import_progress.watch import hub, pubsub_connection, reconnect, subscriber
from django_import_progress.watch.subscriber import Subscriber
from django_import_progress.watch.watched_job import WatchedJob


def edit(monkeypatch: pytest.MonkeyPatch, name: str, *edits: tuple[str, str]) -> None:
    """Replace parts of a script's text.

    Raises:
        ValueError: a part is not there: the control would switch nothing off.
    """
    text = getattr(scripts, name).text
    for old, new in edits:
        text.index(old)
        text = text.replace(old, new)
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(scripts, name, scripts.Script(text, sha))


def reads_a_job_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rely on messages after the first read."""
    read = JobStateReducer.apply_read

    def read_once(
        self: JobStateReducer, stored: Stored | None, since: ReadStart, **how: Any
    ) -> bool:
        return self.state is None and read(self, stored, since, **how)

    monkeypatch.setattr(JobStateReducer, "apply_read", read_once)


def reads_before_it_subscribes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read first, then subscribe."""
    run, follow = Subscriber.run, SyncProgressManager._follow

    async def read_and_run(self: Subscriber) -> None:
        slots = list(self._jobs.values())
        found = await read_all(self._redis, [slot.calls.get(slot.view.job_id) for slot in slots])
        for slot, stored in zip(slots, found, strict=True):
            slot.view.apply_read(stored, slot.view.begin_read())
        await run(self)

    def read_and_follow(
        self: SyncProgressManager, pubsub: Any, slot: WatchedJob
    ) -> Iterator[State]:
        stored = perform_sync(self.redis, self.calls.get(slot.view.job_id))
        slot.view.apply_read(stored, slot.view.begin_read())
        yield from follow(self, pubsub, slot)

    monkeypatch.setattr(Subscriber, "run", read_and_run)
    monkeypatch.setattr(SyncProgressManager, "_follow", read_and_follow)
    reads_a_job_only_once(monkeypatch)


def shows_messages_of_any_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show each message as the newest state."""
    message = JobStateReducer.apply_message

    def show(self: JobStateReducer, payload: bytes | str) -> bool:
        self._stored = reducer.UNKNOWN
        return message(self, payload)

    monkeypatch.setattr(JobStateReducer, "apply_message", show)


def believes_in_no_older_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop every state with a lower version than the known one."""
    read = JobStateReducer.apply_read

    def read_newer(
        self: JobStateReducer, stored: Stored | None, since: ReadStart, **how: Any
    ) -> bool:
        return read(self, stored, since._replace(order=(0, 0, 0)), **how)

    monkeypatch.setattr(JobStateReducer, "apply_read", read_newer)


def tells_no_lives_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Order states by version alone, without the life."""
    monkeypatch.setattr(Stored, "order", property(lambda self: (0, self.version, 0)))
    monkeypatch.setattr(Stored, "written", property(lambda self: (0, self.version)))


def tells_no_databases_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept the messages of all databases of the server."""
    monkeypatch.setattr(reducer, "_is_of", lambda *_: True)


def waits_for_a_job_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never report an absent job as gone."""
    monkeypatch.setattr(reducer, "MISSES_UNTIL_GONE", 10**9)


def bears_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait until TCP reports that a connection is broken."""
    for module in (pubsub_connection, subscriber, sync_manager):
        monkeypatch.setattr(module, "SILENCE_SECONDS", 3600)


def bears_silence_and_waits_for_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do so, and wait for reads as long."""
    bears_silence(monkeypatch)
    monkeypatch.setattr(subscriber, "READ_SECONDS", 3600)


def gives_up_a_link_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never reconnect."""

    def never(*_: object) -> float:
        raise TimeoutError("not a second time")

    monkeypatch.setattr(reconnect, "backoff_seconds", lambda *_: 3600.0)
    monkeypatch.setattr(sync_manager, "backoff_seconds", never)


def has_a_hub_for_each_watcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open a subscription for each watcher."""
    watcher = ProgressManager.watcher

    def watch(self: ProgressManager, job_id: Any) -> hub.Watcher:
        self._hub = None
        return watcher(self, job_id)

    monkeypatch.setattr(ProgressManager, "watcher", watch)


def updates_without_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the fields, whether or not the hash exists."""
    edit(monkeypatch, "UPDATE", ("if not job.exists then return {1} end", ""))


def writes_only_what_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write to a job that has expired as if it existed."""

    def write(self: Writer, attempt: Any, fields: dict[str, Any], most_bytes: int) -> Any:
        return self._perform(
            dataclasses.replace(attempt, base={}), fields, most_bytes, recreate=True
        )

    monkeypatch.setattr(Writer, "_write", write)


def writes_for_any_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept writes without checking the fencing token."""
    edit(monkeypatch, "WRITE", ("then return {5} end", "then end"))


def knows_attempts_by_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Order attempts by number, although Redis may have been emptied."""
    edit(
        monkeypatch,
        "WRITE",
        ("= tonumber(start),", "= tonumber(attempt),"),
        (
            "attempt_start(job), job.values['_k']",
            "tonumber(job.values['_a'] or '0'), job.values['_k']",
        ),
    )


def counts_each_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count a repeated command twice."""
    edit(
        monkeypatch,
        "BEGIN",
        ("if job.values['_k'] ~= token then", "if true then"),
        ("if is_repeated(job, nonce) then return {5} end", ""),
    )


def begins_anew_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop the token of the last attempt when an ended job starts again."""
    edit(
        monkeypatch,
        "SET",
        ("if old.ended and job.values['_k'] then", "if false then"),
    )


def writes_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept writes after the end."""
    edit(monkeypatch, "WRITE", ("elseif stored_token and job.ended then", "elseif false then"))


def believes_in_every_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never show a job as stalled."""
    monkeypatch.setattr(Stored, "stalled", False)


def looks_for_lost_workers_at_heartbeats_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not read a job when its worker is overdue."""
    monkeypatch.setattr(JobStateReducer, "is_lease_over", lambda *_: False)


def tells_changes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write nothing while a single row takes long."""
    init = Writer.__init__

    def begin(self: Writer, *args: Any, **how: Any) -> None:
        init(self, *args, **how)
        self._renewal_seconds = 3600.0

    monkeypatch.setattr(Writer, "__init__", begin)


def tells_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore the worker's lease in messages."""
    monkeypatch.setattr(
        reducer, "split_bookkeeping", lambda values: split_bookkeeping({**values, "_r": 0})
    )
    believes_the_servers_clock(monkeypatch)


def believes_the_servers_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use only Redis's clock to decide whether a worker is overdue."""
    is_over = JobStateReducer.is_lease_over
    monkeypatch.setattr(
        JobStateReducer, "is_lease_over", lambda self, now, own: is_over(self, now, float("-inf"))
    )


def writes_for_any_attempt_and_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept writes of any attempt, and after the end."""
    writes_for_any_attempt(monkeypatch)
    writes_after_the_end(monkeypatch)


def leases_by_the_workers_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute the end of the lease by the worker's clock."""
    write = JobCommands.write

    def write_by_its_clock(
        self: JobCommands, job_id: str, attempt: Attempt, *what: Any, **how: Any
    ) -> Any:
        call = write(self, job_id, attempt, *what, **how)
        assert call.script is not None
        until = int((time.time() + attempt.lease.seconds) * 1e6)
        text = call.script.text.replace(
            "renew_lease(job, lease_seconds)", f"set(job, '_d', '{until}')"
        )
        return dataclasses.replace(call, script=None, command=("EVAL", text, *call.command[2:]))

    monkeypatch.setattr(JobCommands, "write", write_by_its_clock)


def says_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report the end before the transaction is committed."""
    monkeypatch.setattr(tracker, "after_transactions", lambda then, **_: False)


def raises_what_anybody_catches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the loop with an `Exception`."""
    monkeypatch.setattr(interrupts, "ImportCancelled", type("ImportCancelled", (Exception,), {}))


def takes_all_that_it_writes_for_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat all fields as the attempt's own when it recreates the job."""
    write = JobCommands.write

    def write_whole(
        self: JobCommands, job_id: str, attempt: Attempt, data: Any, *now: Any, **how: Any
    ) -> Any:
        whole = {**attempt.base, **data} if how["may_create"] else data
        return write(self, job_id, attempt, whole, *now, **how)

    monkeypatch.setattr(JobCommands, "write", write_whole)
