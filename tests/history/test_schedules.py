"""Random schedules of attempts, deaths and outages: each attempt has one row, and one end."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from collections import Counter
from contextlib import closing, contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from django_import_progress import ImportSuperseded, SyncProgressManager, track_import
from django_import_progress.history import recorder, rows
from django_import_progress.history.background import background
from django_import_progress.history.lost import end_lost_jobs, reconcile
from django_import_progress.history.models import ENDED, ImportRun
from django_import_progress.history.rows import Rows

from ..kit.controls import without
from ..kit.recorded import abandon, expire_lease, finished
from ..kit.tracked import JOB
from ..tracker.test_signals import defence

__all__ = ["defence"]

pytestmark = [pytest.mark.usefixtures("history"), pytest.mark.django_db(transaction=True)]

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "15"))
ENDS = ("done", "failed", "cancelled", "dies", "taken over")
FAULTS = ("none", "database locked", "Redis emptied", "Redis emptied before the end")


@dataclasses.dataclass(frozen=True)
class Step:
    """One attempt."""

    end: str
    rows: int
    rejected: int
    fault: str
    looks: bool
    """Whether lost jobs are looked for afterwards."""


STEPS = st.builds(
    Step,
    end=st.sampled_from(ENDS),
    rows=st.integers(0, 5),
    rejected=st.integers(0, 2),
    fault=st.sampled_from(FAULTS),
    looks=st.booleans(),
)


@contextmanager
def locked() -> Any:
    """Another process has locked the database."""
    with closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=60)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.rollback()


class Schedule:
    """Runs steps, and notes what must be found."""

    def __init__(self, jobs: SyncProgressManager) -> None:
        self._jobs = jobs
        self.began: dict[str, Step] = {}

    def run(self, step: Step) -> None:
        """Run one attempt."""
        away = step.fault == "database locked"
        with locked() if away else nullcontext():
            self._attempt(step)
        if step.fault == "Redis emptied":
            self._jobs.redis.flushall()
        elif step.end == "dies":
            with suppress(Exception):
                expire_lease(self._jobs, 601)
        if step.looks and not away:
            background.join()
            end_lost_jobs()

    def _attempt(self, step: Step) -> None:
        tracker = track_import(JOB)
        if step.end == "dies":
            tracker.__enter__()
            self.began[tracker._writer.run_id] = step
            abandon(tracker)
            return
        errors = (ValidationError, KeyboardInterrupt, ImportSuperseded)
        with suppress(*errors), tracker as job:
            self.began[tracker._writer.run_id] = step
            for row in job.rows(range(step.rows)):
                if row < step.rejected:
                    job.reject(row, "odd")
                else:
                    job.count("accepted")
            if step.fault == "Redis emptied before the end":
                self._jobs.redis.flushall()
            if step.end == "taken over":
                with track_import(JOB) as other:
                    self.began[other._writer.run_id] = Step("done", 0, 0, "none", False)
                job._writer.flush()
                job._writer.flushed.wait(60)
            if step.end == "failed":
                raise ValidationError("No.")
            if step.end == "cancelled":
                raise KeyboardInterrupt

    def settle(self) -> None:
        """Have enough time passed for all that can be concluded."""
        background.join()
        hash_key = self._jobs.calls.keys.hash(JOB)
        if self._jobs.redis.hexists(hash_key, "_d"):
            expire_lease(self._jobs, 601)
        for _ in range(3):
            reconcile()
            background.join()
            ImportRun.objects.exclude(missing_since=None).update(
                missing_since=timezone.now() - timedelta(days=1)
            )

    def check(self, sent: Counter[str | None]) -> None:
        """Compare the rows and the signals with what has happened."""
        found = {run.run_id: run for run in ImportRun.objects.all()}
        assert found.keys() == self.began.keys()
        assert ImportRun.objects.count() == len(self.began)
        for run_id, step in self.began.items():
            run = found[run_id]
            assert run.status in ENDED, (run.status, step)
            expected = {"dies": {"lost", "superseded"}, "taken over": {"superseded", "done"}}
            if step.fault == "Redis emptied before the end":  # Then nobody knows of a take-over.
                expected["taken over"].add("lost")
            assert run.status in expected.get(step.end, {step.end}), (run.status, step)
            if step.end in {"done", "failed", "cancelled"}:
                accepted = run.counters.get("accepted", 0)
                assert run.processed_rows == accepted + run.rejected_rows == step.rows
            if run.status != "superseded":
                assert sent[run_id] == 1, (run.status, step)


def never_repairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repair nothing from Redis."""
    monkeypatch.setattr(Schedule, "settle", lambda _: background.join())


def never_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write once, or not at all, and conclude nothing from the next attempt."""
    monkeypatch.setattr(recorder, "_write_in_background", lambda _: None)
    monkeypatch.setattr(Rows, "_as_event", lambda self, _: self._event)


@without(never_repairs, never_retries, fails_with=(BaseException,))
def test_each_attempt_has_one_row_and_one_end(jobs: SyncProgressManager, defence: bool) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize="FUZZ_EXAMPLES" not in os.environ,
        database=None,
        phases=[Phase.generate],  # Shrinking would take minutes, also in the controls.
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(STEPS, min_size=1, max_size=5))
    def check(steps: list[Step]) -> None:
        jobs.redis.flushall()
        background.join()
        ImportRun.objects.all().delete()
        schedule = Schedule(jobs)
        with finished() as sent:
            for step in steps:
                schedule.run(step)
            schedule.settle()
        schedule.check(Counter(news["run_id"] for news in sent))

    check()
    assert rows.database() == "default"
