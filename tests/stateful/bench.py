"""What a schedule is performed on: the writes, the watchers, and what must hold of them."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import redis
from hypothesis.stateful import RuleBasedStateMachine, invariant

from django_import_progress import JobExists, JobFinished, JobNotFound, ProgressUnavailable
from django_import_progress.access import make_ticket
from django_import_progress.service.base import now_text
from tests.kit.waiting import wait_for

from .model import Fields, JobModel, Op, Partial, Stored, has_ended
from .stream import strict_json
from .watcher import ADDED, Watcher, all_current
from .watchers import SseWatcher
from .world import NAMESPACE, World

JOBS = 2
WITHIN_SECONDS = 5.0
"""Once faults have stopped, every watcher must have seen what is stored."""
NOISE_SECONDS = 5.0
"""What a busy machine may add to that."""


class Bench(RuleBasedStateMachine):
    """Two jobs, those who watch them, and a journal for whoever reads of a failure."""

    world: ClassVar[World]
    _examples = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        example = next(self._examples)
        self.jobs = [JobModel(f"e{example}-{n}", time.monotonic) for n in range(JOBS)]
        self.watchers: list[Watcher] = []
        self.dropped: list[Watcher] = []
        self.numbers = itertools.count(1)
        self.remembered: list[list[Stored]] | None = None
        self.journal: list[str] = []
        self.began = time.monotonic()
        self.world.process_metrics["schedules"] += 1
        if self.world.failure is not None:  # pragma: no cover - then there is nothing to add
            raise self.world.failure
        self.world.reset()

    def note(self, step: str, *details: object) -> None:
        """Count a step, and keep it in the journal."""
        self.world.process_metrics[step] += 1
        shown = " ".join(map(str, details))
        self.journal.append(f"{time.monotonic() - self.began:7.3f} {step} {shown}")

    def perform(self, side: str, job: JobModel, op: Op) -> None:
        """Write, and compare the answer with what was possible."""
        self.note(op.verb, side, job.job_id, op.number, op.data)
        began = time.monotonic()
        verb: Callable[..., Any] = getattr(self.world.writers[side], op.verb)
        arguments: dict[str, Any] = {} if op.verb == "delete" else {"data": op.data}
        try:
            reply = verb(job.job_id, **arguments)
        except ProgressUnavailable:
            self.journal[-1] += " -> maybe"
            job.lose(op, began)
        except JobFinished:
            job.refused(has_ended, f"{op}: the job is said to have ended")
        except JobNotFound:
            job.refused(lambda state: state is None, f"{op}: there is said to be no job")
        except JobExists:
            job.refused(lambda state: state is not None, f"{op}: the job is said to exist")
        else:
            job.answered(op, reply if isinstance(reply, dict) else None, began)

    def fields(self, job: JobModel, number: int, **values: Any) -> Fields:
        """Return fields that follow from `number`, so that no mixture of two writes is a third."""
        return {"n": number, "square": number**2, "job": f"{job.job_id} {number}\r\n\0", **values}

    def tell(self, job: JobModel, data: Fields, *, stamped: bool, by: str) -> None:
        """Publish a partial message; without a mark if another program does."""
        if stamped:
            data["updated_at"] = now_text()
        is_lost = False
        try:
            if by == "another program":
                self.world.raw.publish(f"{NAMESPACE}:channel:{job.job_id}", json.dumps(data))
            else:
                manager = self.world.publishers[by]()
                manager.publish_update(job.job_id, data, ensure_timestamp=False)
        except (ProgressUnavailable, redis.RedisError):
            is_lost = True
        is_marked = by != "another program"
        job.publish(data["p"], Partial(fields=data, is_marked=is_marked, is_lost=is_lost))

    def tell_elsewhere(self, job: JobModel, verb: str, data: Fields) -> None:
        """Write to the job of the same id in another database: nobody here may see it."""
        method: Callable[..., Any] = getattr(self.world.elsewhere, verb)
        with suppress(ProgressUnavailable, JobExists, JobFinished, JobNotFound):
            method(job.job_id, **({} if verb == "delete" else {"data": data}))

    def befall(self, step: str, *command: Any) -> bool:
        """Have Redis do something; whether it was in a position to."""
        self.note(step)
        try:
            self.world.raw.execute_command(*command)
        except redis.RedisError:
            return False
        return True

    def vanish(self, step: str, some: list[JobModel], *command: Any) -> None:
        """Have jobs go without a word."""
        began = time.monotonic()
        if self.befall(step, *command):
            for job in some:
                job.settle([None], began)
        else:
            for job in some:
                job.lose(Op(verb="delete", number=0, data={}), began)

    def roll_back(self, began: float) -> None:
        """Have Redis know only what it did when it was remembered."""
        if self.remembered is not None:
            self.world.roll_back()
            for job, possible in zip(self.jobs, self.remembered, strict=True):
                job.settle(possible, began)
        self.world.start()
        self.world.ear.forget()  # A message out of a future that never was is no duplicate.
        self.world.rollbacks += 1

    def ids(self, job: JobModel) -> list[str]:
        """Return event ids that watchers of the job hold."""
        return [w.last_event_id for w in self.watchers if w.job is job] or [""]

    def leave(self, index: int) -> Watcher:
        """Have a watcher go away without a word, and return it."""
        watcher = self.watchers.pop(index % len(self.watchers))
        self.note("drop", watcher.kind, watcher.job.job_id, watcher.last_event_id)
        watcher.drop()
        self.dropped.append(watcher)
        return watcher

    # What must hold

    @invariant()
    def what_was_shown_may_be(self) -> None:
        self.world.ear.listen()
        for watcher in self.watchers:
            watcher.check()

    def check_at_rest(self) -> None:
        """End all faults; then all must converge, and all doors must show the same."""
        self.note("rest")
        self.world.calm()
        for job in self.jobs:
            job.pending.clear()  # What was on its way has come, or is lost with its connection.
            job.found(self.world.read(job.job_id))
        seconds = all_current(self.watchers, WITHIN_SECONDS + NOISE_SECONDS)
        self.journal[-1] += f" -> converged after {seconds:.3f} s"
        self.world.slowest = max(self.world.slowest, seconds)
        for job in self.jobs:
            self.check_doors(job)
        for watcher in self.watchers:
            if isinstance(watcher, SseWatcher):
                watcher.check_that_its_end_is_known()
        self.check_expiry()

    def check_doors(self, job: JobModel) -> None:
        """Check that each way to read a job tells what is stored."""
        stored = self.world.read(job.job_id)
        job.found(stored)
        # Who was not here during a fault may find only now that its connections are dead.
        assert wait_for(lambda: self.world.read_async(job.job_id), "an answer", 12) == [stored]
        path = f"/progress/jobs/{make_ticket(job.job_id)}/"
        response = wait_for(lambda: self.world.get(path), "an answer of the site", 12)
        assert response is not None
        if stored is None and response.status_code == 404:
            return
        assert response.status_code == 200, response
        shown = strict_json(response.content)
        if stored is None:
            assert job.ended_as(shown), response
            return
        assert {name: shown[name] for name in shown if name not in ADDED} == stored

    def check_expiry(self) -> None:
        """Check that nothing of ours stays for ever."""
        keys = list(self.world.raw.scan_iter(f"{NAMESPACE}:*"))
        assert [key for key in keys if self.world.raw.pttl(key) == -1] == []

    def fail(self, failure: Exception) -> None:
        """Keep the first failure: what is real does not fail the same way when it is repeated."""
        failure.add_note("\n".join(["What was done:", *self.journal]))
        self.world.failure = self.world.failure or failure

    def teardown(self) -> None:
        """Come to rest, have all watchers go, and check that nothing is left of them."""
        failure = sys.exc_info()[1]
        try:
            if failure is None:
                self.check_at_rest()
        except AssertionError as error:  # pragma: no cover - of a failure
            failure = error
            raise
        finally:
            if isinstance(failure, Exception):  # Another one is how Hypothesis ends an example.
                self.fail(failure)
            self.world.calm()
            while self.watchers:
                self.leave(0)
        for watcher in self.dropped:
            watcher.close()
        if failure is None:
            self.check_that_nothing_is_left()

    def check_that_nothing_is_left(self) -> None:
        """Check that all that was made for watchers has gone with them."""
        began = time.monotonic()
        while left := self.world.leaks():
            assert time.monotonic() - began < WITHIN_SECONDS + NOISE_SECONDS, left
            time.sleep(0.02)
