"""The same sequences of writes and messages over every way: all end with the same state."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from django_import_progress import InvalidProgress, SyncProgressManager
from django_import_progress.core import reducer
from django_import_progress.core.reducer import JobStateReducer
from django_import_progress.service.base import KnownVersions

from .faults.naive import edit
from .kit import ways
from .kit.asgi import AsgiServer
from .kit.controls import FAILURES
from .kit.tracked import JOB
from .kit.waiting import wait_for
from .kit.ways import POLLS, WAYS, Follower

SET_RECORD = (
    "redis.call('SET', KEYS[2], '[' .. text .. ',' .. error .. rejected .. ']', 'EX', seconds)"
)
LONG_AGO, SOON = "2001-01-01T00:00:00+00:00", "2101-01-01T00:00:00+00:00"


class Case:
    """One job, who publishes it, and one who follows it.

    Attributes:
        a: a manager with a memory of its own; `b` is another one.
        elsewhere: a manager of another database of the same server.
        raw: another program.
    """

    def __init__(self, way: str, live: AsgiServer, url: str, raw: redis.Redis) -> None:
        self.way, self.raw, self._live = way, raw, live
        self.a, self.b = (SyncProgressManager(redis.Redis.from_url(url)) for _ in range(2))
        other = redis.Redis.from_url(f"{url.rpartition('/')[0]}/1")
        other.flushdb()
        self.elsewhere = SyncProgressManager(other)
        self._follower: Follower | None = None

    @property
    def is_polled(self) -> bool:
        """Whether only what is stored can be seen."""
        return self.way in POLLS

    def follow(self, **fields: Any) -> None:
        """Begin to follow, and wait until these fields are shown."""
        self._follower = Follower(self.way, self._live, JOB)
        if self.way == "relay":  # It tells of what happens from now on.
            wait_for(lambda: self.a.publish_update(JOB, {}), "the relay to be subscribed")
        self.shows(**fields)

    def shows(self, **fields: Any) -> None:
        """Wait until these fields are shown."""
        assert self._follower is not None
        self._follower.shows(**fields)

    def shows_published(self, **fields: Any) -> None:
        """Wait until these fields are shown, which are stored nowhere."""
        if not self.is_polled:
            self.shows(**fields)

    def publish(self, **fields: Any) -> None:
        """Publish as a program that knows nothing of this package."""
        self.raw.publish(f"import_progress:channel:{JOB}", json.dumps(fields))

    def ends(self, **fields: Any) -> list[dict[str, Any]]:
        """Wait until the following ends with these fields; return all that was shown."""
        assert self._follower is not None
        last = self._follower.ends()
        assert {name: last.get(name) for name in fields} == fields
        return self._follower.seen

    def is_gone(self) -> list[dict[str, Any]]:
        """Wait until the following ends since the job is gone; return all that was shown."""
        assert self._follower is not None
        last = self._follower.ends()
        assert "gone" in last or self.way in {"async watch", "sync watch"}
        return self._follower.seen

    def close(self) -> None:
        """Close what was opened."""
        for manager in (self.a, self.b, self.elsewhere):
            manager.redis.close()


def stored_then_published(case: Case) -> None:
    """The usage guide's own pattern, with one message that says more than is stored."""
    rows = {"status": "importing", "stage": "batch_9", "total_rows": 95_000}
    case.a.set_progress(JOB, {**rows, "processed_rows": 90_000})
    case.follow(processed_rows=90_000)
    case.a.set_progress(JOB, {**rows, "stage": "batch_10", "processed_rows": 95_000})
    case.a.publish_update(JOB, {"processed_rows": 100_000})
    case.shows(stage="batch_10")
    case.a.set_progress(JOB, {"status": "done", "processed_rows": 95_000, "total_rows": 95_000})
    case.a.publish_update(JOB, {"status": "done"})
    case.ends(status="done", processed_rows=95_000, stage=None)


def failed_then_published(case: Case) -> None:
    """The guide's error handling; a manager for each call remembers nothing."""
    case.a.set_progress(JOB, {"status": "importing", "processed_rows": 5})
    case.follow(processed_rows=5)
    end = {"status": "failed", "error_message": "line 7"}
    case.a.set_progress(JOB, {**end, "processed_rows": 6})
    case.b.publish_update(JOB, end)
    case.ends(**end, processed_rows=6)


def published_only(case: Case) -> None:
    """Created, then published and never stored again; by a clock that is far behind."""
    case.a.create(JOB)
    case.follow(status="queued")
    case.b.publish_update(JOB, {"processed_rows": 50, "updated_at": LONG_AGO})
    case.shows_published(processed_rows=50, status="queued")
    case.publish(processed_rows=60, updated_at=LONG_AGO)
    case.shows_published(processed_rows=60)
    case.a.update(JOB, {"status": "done"})
    case.ends(status="done")


def a_clock_that_is_ahead(case: Case) -> None:
    """A message from the future hides nothing that is stored later."""
    case.a.set_progress(JOB, {"n": 1})
    case.follow(n=1)
    case.publish(n=2, updated_at=SOON)
    case.shows_published(n=2)
    case.a.update(JOB, {"n": 3})
    case.shows(n=3)
    case.publish(m=1, updated_at=LONG_AGO)
    case.shows_published(n=3, m=1)
    case.a.update(JOB, {"status": "done"})
    case.ends(n=3, m=None)


def a_late_message_after_the_end(case: Case) -> None:
    """Nothing is merged over a stored end."""
    case.a.set_progress(JOB, {"status": "importing", "processed_rows": 80})
    case.follow(processed_rows=80)
    case.b.get_progress(JOB)
    case.a.set_progress(JOB, {"status": "done", "processed_rows": 100})
    case.b.publish_update(JOB, {"processed_rows": 90})
    case.a.publish_update(JOB, {"processed_rows": 90})
    case.ends(status="done", processed_rows=100)


def a_late_end_of_an_earlier_run(case: Case) -> None:
    """It ends nobody who watches the next run."""
    case.a.set_progress(JOB, {"status": "importing", "run": 1})
    case.follow(run=1)
    case.b.update(JOB, {"run": 2})
    case.shows(run=2)
    case.a.publish_update(JOB, {"status": "done"})
    case.b.publish_update(JOB, {"n": 5})
    case.shows_published(run=2, n=5, status="importing")
    case.b.update(JOB, {"status": "failed"})
    assert all(shown["status"] != "done" for shown in case.ends(status="failed", run=2))


def two_reporters(case: Case) -> None:
    """Both store, then both publish: the fields that were stored last are shown."""
    case.a.set_progress(JOB, {"who": "nobody"})
    case.follow(who="nobody")
    case.a.set_progress(JOB, {"who": "A", "a": 1})
    case.b.set_progress(JOB, {"who": "B", "b": 1})
    case.a.publish_update(JOB, {"who": "A"})
    case.b.publish_update(JOB, {"b": 1})
    case.shows(who="B", b=1)
    case.b.update(JOB, {"status": "done"})
    case.ends(who="B", a=None)


def a_request_to_cancel(case: Case) -> None:
    """It takes nothing back of what a worker has published, and the worker goes on."""
    case.a.create(JOB, owner=1)
    case.a.get_progress(JOB)
    case.follow(status="queued")
    case.a.publish_update(JOB, {"processed_rows": 50})
    case.shows_published(processed_rows=50)
    case.b.request_cancel(JOB)
    case.a.publish_update(JOB, {"processed_rows": 60})
    case.shows_published(processed_rows=60, status="queued")
    case.b.update(JOB, {"status": "cancelled"})
    rows = [shown.get("processed_rows", 0) for shown in case.ends(status="cancelled")[:-1]]
    assert rows == sorted(rows)


def raw_text_in_the_hash(case: Case) -> None:
    """What another program wrote, and is not JSON, is text; no message is junk for it."""
    texts = {"file": "products.csv", "sku": "007", "size": "0x10", "n": "12", "odd": "[1,NaN]"}
    case.raw.hset(f"import_progress:hash:{JOB}", mapping={**texts, "piped": "7\n"})
    shown = {**texts, "n": 12, "piped": 7}
    case.follow(**shown)
    case.a.update(JOB, {"m": 1})
    case.shows(**shown, m=1)
    case.raw.hset(f"import_progress:hash:{JOB}", "note", "by hand")
    case.a.update(JOB, {"status": "done"})
    case.ends(**shown, note="by hand", status="done")


def junk_on_the_channel(case: Case) -> None:
    """It is not shown, and what was stored meanwhile is."""
    case.a.set_progress(JOB, {"n": 1})
    case.follow(n=1)
    case.a.set_progress(JOB, {"n": 2})
    case.raw.publish(f"import_progress:channel:{JOB}", "{junk")
    case.shows(n=2)
    case.a.set_progress(JOB, {"status": "done"})
    case.raw.publish(f"import_progress:channel:{JOB}", b"\xff\x00")
    case.ends(status="done", n=None)


def another_database(case: Case) -> None:
    """A job of the same id there is another one."""
    case.a.set_progress(JOB, {"status": "importing", "n": 1})
    case.follow(n=1)
    case.elsewhere.create(JOB, data={"theirs": 1})
    case.elsewhere.publish_update(JOB, {"theirs": 2, "status": "done"})
    case.elsewhere.update(JOB, {"theirs": 3, "status": "failed"})
    case.elsewhere.delete(JOB)
    case.a.update(JOB, {"n": 2})
    case.shows(n=2)
    case.a.update(JOB, {"status": "cancelled"})
    assert not any("theirs" in shown for shown in case.ends(status="cancelled", n=2))


def a_deletion(case: Case) -> None:
    """It ends the following at once."""
    case.a.set_progress(JOB, {"n": 1})
    case.follow(n=1)
    case.b.delete(JOB)
    case.is_gone()


def a_deletion_before(case: Case) -> None:
    """It is known, and not waited for."""
    if case.way in {"relay", "command line"}:
        return  # The one tells of what happens from now on, the other waits: see its own tests.
    case.a.create(JOB)
    case.a.delete(JOB)
    case.follow()
    case.is_gone()


def an_outcome(case: Case) -> None:
    """A job that has ended, and whose snapshot has expired, is shown as it ended."""
    case.a.create(JOB, owner=1)
    end = {"status": "failed", "processed_rows": 5, "total_rows": 10, "error_message": "line 7"}
    case.a.set_progress(JOB, {**end, "stage": "x"})
    case.raw.pexpire(f"import_progress:hash:{JOB}", 1)
    wait_for(lambda: case.a.get_progress(JOB) is None, "the snapshot to expire")
    if case.way == "relay":
        return  # It was relayed long ago.
    case.follow()
    case.ends(**end, expired=True, stage=None)


def an_earlier_release(case: Case) -> None:
    """Its messages have no marks: a partial one is laid over what is stored."""
    case.a.set_progress(JOB, {"n": 1, "stage": "x"})
    case.follow(n=1)
    case.publish(n=2)
    case.shows_published(n=2, stage="x")
    stored = case.raw.hmget(f"import_progress:hash:{JOB}", "_l", "_v")
    life, version = (int(value or 0) for value in stored)
    whole = {"n": 3, "_l": life, "_v": version + 1}
    case.raw.hset(f"import_progress:hash:{JOB}", mapping=whole)
    case.publish(**whole)
    case.shows(n=3)
    case.a.set_progress(JOB, {"status": "done", "n": 4})
    case.publish(status="done")
    case.ends(status="done", n=4, stage=None)


SEQUENCES: list[Callable[[Case], None]] = [
    stored_then_published,
    failed_then_published,
    published_only,
    a_clock_that_is_ahead,
    a_late_message_after_the_end,
    a_late_end_of_an_earlier_run,
    two_reporters,
    a_request_to_cancel,
    raw_text_in_the_hash,
    junk_on_the_channel,
    another_database,
    a_deletion,
    a_deletion_before,
    an_outcome,
    an_earlier_release,
]


@pytest.fixture
def case(way: str, live: AsgiServer, foreign: redis.Redis, settings: Any) -> Any:
    """A job to be followed one way, with a heartbeat that does not help."""
    url = settings.IMPORT_PROGRESS["REDIS_URL"]
    settings.IMPORT_PROGRESS = {"REDIS_URL": url, "HEARTBEAT_SECONDS": 3600}
    case = Case(way, live, url, foreign)
    yield case
    case.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda sequence: sequence.__name__)
def test_each_way_shows_the_same(case: Case, sequence: Callable[[Case], None]) -> None:
    sequence(case)


# Without each defence one of these goes wrong.


def takes_all_databases_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "PATIENCE_SECONDS", 5)
    monkeypatch.setattr(reducer, "_is_of", lambda *_: True)


def shows_an_end_without_a_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobStateReducer, "_is_confirmed", True)


def remembers_nothing_of_what_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "PATIENCE_SECONDS", 5)
    monkeypatch.setattr(KnownVersions, "of", lambda *_: None)


def remembers_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "PATIENCE_SECONDS", 5)
    edit(monkeypatch, "SET", (SET_RECORD, ""))


def takes_what_another_program_wrote_for_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "PATIENCE_SECONDS", 5)
    monkeypatch.setattr(JobStateReducer, "needs_read", False)  # Else a read makes up for the junk.
    edit(monkeypatch, "UPDATE", ("if not is_json(value, is_foreign)", "if false"))


def reads_nothing_because_of_junk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "PATIENCE_SECONDS", 5)
    monkeypatch.setattr(JobStateReducer, "needs_read", False)


def counts_a_request_to_cancel_as_a_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "PATIENCE_SECONDS", 5)
    edit(monkeypatch, "CANCEL", ("if not job.values['_v'] then save", "if true then save"))


NEEDED = {
    another_database: takes_all_databases_for_one,
    stored_then_published: shows_an_end_without_a_read,
    a_late_end_of_an_earlier_run: remembers_nothing_of_what_it_wrote,
    an_outcome: remembers_no_outcome,
    raw_text_in_the_hash: takes_what_another_program_wrote_for_json,
    junk_on_the_channel: reads_nothing_because_of_junk,
    a_request_to_cancel: counts_a_request_to_cancel_as_a_write,
}


@pytest.mark.parametrize("way", ["view"])
@pytest.mark.parametrize(
    ("sequence", "switch"), NEEDED.items(), ids=[switch.__name__ for switch in NEEDED.values()]
)
@pytest.mark.xfail(raises=(*FAILURES, InvalidProgress), strict=True)
def test_each_defence_is_needed(
    case: Case,
    sequence: Callable[[Case], None],
    switch: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    switch(monkeypatch)
    sequence(case)
