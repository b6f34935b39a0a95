"""What a naive implementation would do: switches for negative controls."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from django_import_progress import hub, link, sync
from django_import_progress.clients import perform_sync, read_all
from django_import_progress.core import scripts, view
from django_import_progress.core.snapshot import Stored
from django_import_progress.core.view import JobView, State
from django_import_progress.link import Link
from django_import_progress.manager import ProgressManager
from django_import_progress.slot import Slot
from django_import_progress.sync import SyncProgressManager
from django_import_progress.writer import Writer


def reads_a_job_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rely on messages once something is known."""
    read = JobView.read

    def read_once(self: JobView, stored: Stored | None, **how: Any) -> bool:
        return self.state is None and read(self, stored, **how)

    monkeypatch.setattr(JobView, "read", read_once)


def reads_before_it_subscribes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do the two in the order that comes to mind first."""
    run, follow = Link.run, SyncProgressManager._follow

    async def read_and_run(self: Link) -> None:
        slots = list(self._slots.values())
        found = await read_all(self._redis, [slot.calls.get(slot.view.job_id) for slot in slots])
        for slot, stored in zip(slots, found, strict=True):
            slot.view.read(stored, mark=slot.view.mark, heartbeat=False)
        await run(self)

    def read_and_follow(self: SyncProgressManager, pubsub: Any, slot: Slot) -> Iterator[State]:
        stored = perform_sync(self.redis, self.calls.get(slot.view.job_id))
        slot.view.read(stored, mark=slot.view.mark, heartbeat=False)
        yield from follow(self, pubsub, slot)

    monkeypatch.setattr(Link, "run", read_and_run)
    monkeypatch.setattr(SyncProgressManager, "_follow", read_and_follow)
    reads_a_job_only_once(monkeypatch)


def shows_messages_of_any_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take what comes last for the newest."""
    message = JobView.message

    def show(self: JobView, payload: bytes | str) -> bool:
        self._stored = None
        return message(self, payload)

    monkeypatch.setattr(JobView, "message", show)


def believes_in_no_older_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop whatever has a lower version than what is known, for it must be old."""
    read = JobView.read

    def read_newer(self: JobView, stored: Stored | None, **how: Any) -> bool:
        return read(self, stored, **{**how, "mark": (0, 0)})

    monkeypatch.setattr(JobView, "read", read_newer)


def tells_no_lives_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count writes, and nothing else."""
    monkeypatch.setattr(Stored, "order", property(lambda self: (0, self.version)))


def waits_for_a_job_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe that what is absent will come back."""
    monkeypatch.setattr(view, "MISSES_UNTIL_GONE", 10**9)


def bears_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe that a link lives until TCP says that it does not."""
    for module in (link, sync):
        monkeypatch.setattr(module, "SILENCE_SECONDS", 3600)


def bears_silence_and_waits_for_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do so with reads as well."""
    bears_silence(monkeypatch)
    monkeypatch.setattr(link, "READ_SECONDS", 3600)


def gives_up_a_link_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Subscribe once."""

    def never(*_: object) -> float:
        raise TimeoutError("not a second time")

    monkeypatch.setattr(hub, "backoff_seconds", lambda *_: 3600.0)
    monkeypatch.setattr(sync, "backoff_seconds", never)


def has_a_hub_for_each_watcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Subscribe for each that comes."""
    watcher = ProgressManager.watcher

    def watch(self: ProgressManager, job_id: Any) -> hub.Watcher:
        self._hub = None
        return watcher(self, job_id)

    monkeypatch.setattr(ProgressManager, "watcher", watch)


def updates_without_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the fields, whether or not there is a hash."""
    text = scripts.UPDATE.text.replace("if not job.there then return {1} end", "")
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(scripts, "UPDATE", scripts.Script(text, sha))


def writes_only_what_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write into what has gone as if it were there."""

    def write(self: Writer, attempt: Any, fields: dict[str, Any]) -> None:
        self._perform(attempt, fields, anew=True)

    monkeypatch.setattr(Writer, "_write", write)
