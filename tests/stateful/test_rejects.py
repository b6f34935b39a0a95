"""Random schedules of an import that rejects rows: at each end the counts and the report agree."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from django_import_progress import SyncProgressManager, TooManyRejects, track_import
from django_import_progress.core.rejects import REFUSED
from django_import_progress.tracker import writer
from django_import_progress.tracker.rejects.log import RejectLog
from django_import_progress.tracker.rejects.rejecting import Rejecting
from tests.kit import waiting
from tests.kit.controls import without
from tests.kit.tracked import JOB
from tests.kit.waiting import wait_for

__all__ = ["defence"]

from tests.faults.conftest import defence

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "30"))
ROWS = st.lists(st.sampled_from(["accept", "reject", "reject twice"]), max_size=5)
FAULTS = st.sampled_from(["", "", "flush", "lose the report", "disconnect"])
ENDS = st.sampled_from(["done", "raise", "raise in a row", "fail"])
ATTEMPTS = st.lists(
    st.tuples(st.lists(st.tuples(ROWS, FAULTS), max_size=4), ENDS, st.sampled_from([None, 2])),
    min_size=1,
    max_size=3,
)
Attempts = list[tuple[list[tuple[list[str], str]], str, int | None]]


class _Raised(Exception):
    """What ends an attempt."""


class Schedule:
    """Performs attempts at one job, and counts what they should have counted."""

    def __init__(self, jobs: SyncProgressManager) -> None:
        self._jobs = jobs

    def perform(self, attempts: Attempts) -> None:
        self._jobs.redis.flushall()
        for parts, end, limit in attempts:
            self._accepted, self._rejected = 0, list[int]()
            with suppress(_Raised, TooManyRejects), track_import(JOB, max_rejects=limit) as job:
                self._import(job, parts, end)
            self._check()

    def _import(self, job: Rejecting, parts: list[tuple[list[str], str]], end: str) -> None:
        number = 0
        for rows, fault in parts:
            for what in job.rows(rows):
                number += 1
                self._row(job, what, number)
            self._break(fault)
        if end == "raise in a row":
            for _ in job.rows("x"):  # pragma: no branch
                self._row(job, "reject", number + 1)
                raise _Raised
        if end == "raise":
            raise _Raised
        if end == "fail":
            job.fail("no")

    def _row(self, job: Rejecting, what: str, number: int) -> None:
        row = [number]
        if what == "accept":
            self._accepted += 1
            return
        self._rejected.append(number)
        job.reject(row, "no")
        if what == "reject twice":
            job.reject(row, "again")

    def _break(self, fault: str) -> None:
        redis = self._jobs.redis
        if fault:
            wait_for(lambda: len(self._kept()) >= len(self._rejected), "the report")
        if fault == "flush":
            redis.flushall()
        if fault == "lose the report":
            redis.delete(f"import_progress:rejects:{JOB}")
        if fault == "disconnect":
            redis.client_kill_filter(_type="normal", skipme=True)

    def _check(self) -> None:
        # Where Redis was failing, the block does not wait until all is written.
        wait_for(self._counts_agree, "the counts to agree")
        wait_for(lambda: self._kept() == self._rejected, "the report to agree")
        assert [reject["row"] for reject in self._jobs.rejects(JOB)] == self._rejected

    def _counts_agree(self) -> bool:
        snapshot = self._jobs.get_progress(JOB)
        assert snapshot is not None
        counts = (snapshot.get("rejected_rows", 0), snapshot["processed_rows"])
        return counts == (len(self._rejected), self._accepted + len(self._rejected))

    def _kept(self) -> list[int]:
        return [reject["data"]["1"] for reject in self._jobs.rejects(JOB)]


def counts_a_row_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rejecting, "_was_rejected", lambda *_: False)


def forgets_rows_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rejecting, "_count_unfinished", lambda _: None)


def believes_that_redis_has_all(monkeypatch: pytest.MonkeyPatch) -> None:
    send = RejectLog.send

    def once(self: RejectLog, write: object) -> bool:
        def believed(stored: int, entries: list[bytes]) -> int:
            count: int = write(stored, entries)  # type: ignore[operator]
            return count if count == REFUSED else stored + len(entries)

        return send(self, believed)

    monkeypatch.setattr(RejectLog, "send", once)


@without(counts_a_row_twice, forgets_rows_without_an_end, believes_that_redis_has_all)
def test_counts_and_report_agree_at_each_end(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch, defence: bool
) -> None:
    monkeypatch.setattr(writer, "INTERVAL_SECONDS", 0.01)
    if not defence:
        monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 1.0)
    schedule = Schedule(jobs)

    @settings(max_examples=EXAMPLES, derandomize=True, phases=[Phase.generate])
    @given(ATTEMPTS)
    def they_agree(attempts: Attempts) -> None:
        schedule.perform(attempts)

    they_agree()
