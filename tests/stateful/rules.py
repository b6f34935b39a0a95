"""The rules: every one is one step of a schedule, and they come in any order."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from .bench import JOBS, Bench
from .model import TERMINAL, Fields, Op, has_ended
from .watchers import KINDS
from .world import NAMESPACE

MOST_WATCHERS = 10
MOST_PENDING = 3
ROWS: list[Any] = [0, 7, 100, -3, 2.5, 10**30, 1e308, None, True, "12", [1], {}]
"""What `total_rows` and `processed_rows` are, and what they should not be."""
STATUSES = ["importing", "importing", "parsing", "any text", *TERMINAL]
PUBLISHERS = ["the writer", "one that remembers nothing", "another program"]
JUNK = [b"junk", b"", b"[1]", b"\xff", b'{"n":NaN}', b'{"_x":1}', b'{"_gone":"x"}', b'{"_l":1}']
JUNK += [b"[" * 5000, b"x" * 300_000]
JUNK_IDS = ["junk", "1-2-3", f"end-{0:032}", "99999999999999999-1-0", "end-", "\xff"]

jobs = st.integers(0, JOBS - 1)
sides = st.sampled_from(["direct", "direct", "wire"])
rows = st.sampled_from(ROWS)
pauses = st.sampled_from([0.0, 0.0, 0.005, 0.05])
indexes = st.integers(0, MOST_WATCHERS - 1)
is_up = precondition(lambda self: self.world.is_up)


class Schedule(Bench):
    """Writes, faults and watchers in any order; what must hold is checked after each step."""

    @initialize(kinds=st.lists(st.sampled_from([*KINDS]), min_size=2, max_size=4))
    def begin(self, kinds: list[str]) -> None:
        """Have something to see, and somebody who sees it."""
        self.write(0, "direct", "create", "importing", 0, 100)
        for n, kind in enumerate(kinds):
            self.watch(n % JOBS, kind, "")

    # Writes

    @rule(n=jobs, side=sides, verb=st.sampled_from(["set_progress", "update", "update", "create"]),
          status=st.sampled_from(STATUSES), done=rows, total=rows)  # fmt: skip
    def write(self, n: int, side: str, verb: str, status: str, done: Any, total: Any) -> None:
        """Write anything, in any state of the job."""
        job, number = self.jobs[n], next(self.numbers)
        if len(job.pending) >= MOST_PENDING:
            return
        data = self.fields(job, number, status=status, processed_rows=done, total_rows=total)
        if verb == "update":
            data[f"kept_{number % 3}"] = number
        self.perform(side, job, Op(verb=verb, number=number, data=data))

    @rule(n=jobs, side=sides, count=st.integers(2, 20), pause=pauses)
    def import_rows(self, n: int, side: str, count: int, pause: float) -> None:
        if None in self.jobs[n].possible or any(map(has_ended, self.jobs[n].possible)):
            self.write(n, side, "set_progress", "importing", 0, count)
        for done in range(count):
            self.write(n, side, "update", "importing", done, count)
        time.sleep(pause)

    @rule(n=jobs, verb=st.sampled_from(["set_progress", "create"]), pause=pauses)
    def begin_again(self, n: int, verb: str, pause: float) -> None:
        self.write(n, "direct", verb, "importing", 0, 100)
        time.sleep(pause)

    @rule(n=jobs, side=sides, status=st.sampled_from(TERMINAL), pause=pauses)
    def end(self, n: int, side: str, status: str, pause: float) -> None:
        self.write(n, side, "update", status, 100, 100)
        self.write(n, side, "update", "importing", 1, 100)  # It must be refused.
        time.sleep(pause)

    @rule(n=jobs, status=st.sampled_from([None, None, None, "importing", "done"]),
          stamped=st.booleans(), by=st.sampled_from(PUBLISHERS))  # fmt: skip
    def publish(self, n: int, status: str | None, stamped: bool, by: str) -> None:
        job, number = self.jobs[n], next(self.numbers)
        data: Fields = {"p": number, "p_square": number**2, f"p{number % 2}": number}
        if status is not None:
            data["status"] = status
        self.note("publish", job.job_id, data, f"stamped={stamped} by {by}")
        self.tell(job, data, stamped=stamped, by=by)

    @rule(n=jobs, verb=st.sampled_from(["set_progress", "update", "publish_update", "delete"]),
          status=st.sampled_from(STATUSES))  # fmt: skip
    def write_elsewhere(self, n: int, verb: str, status: str) -> None:
        """Write to a job of the same id in another database of the server."""
        job, number = self.jobs[n], next(self.numbers)
        self.note("write elsewhere", verb, job.job_id, number, status)
        self.tell_elsewhere(job, verb, self.fields(job, number, status=status))

    # What others do to Redis

    @is_up
    @rule(n=jobs, junk=st.one_of(st.none(), st.sampled_from(JUNK)), index=st.integers(0, 99))
    def say_again(self, n: int, junk: bytes | None, index: int) -> None:
        """Tell junk, or something that was told before."""
        self.world.ear.listen()
        heard = self.world.ear.heard
        if junk is not None:
            self.befall("junk", "PUBLISH", f"{NAMESPACE}:channel:{self.jobs[n].job_id}", junk)
        elif heard:  # pragma: no branch - mostly something was
            self.befall("duplicate", "PUBLISH", *heard[index % len(heard)])

    @is_up
    @rule(n=jobs, how=st.sampled_from(["delete", "expire", "FLUSHALL"]), side=sides, pause=pauses)
    def lose(self, n: int, how: str, side: str, pause: float) -> None:
        if how == "delete":
            if len(self.jobs[n].pending) < MOST_PENDING:  # pragma: no branch
                self.perform(side, self.jobs[n], Op(verb="delete", number=0, data={}))
        elif how == "expire":
            key = f"{NAMESPACE}:hash:{self.jobs[n].job_id}"
            self.vanish("expire", [self.jobs[n]], "PEXPIRE", key, 1)
            time.sleep(0.003)
        else:
            self.vanish("FLUSHALL", self.jobs, "FLUSHALL")
        time.sleep(pause)

    @is_up
    @rule(kind=st.sampled_from(["pubsub", "normal"]))
    def kill_clients(self, kind: str) -> None:
        self.befall(f"CLIENT KILL {kind}", "CLIENT", "KILL", "TYPE", kind)

    # Faults of the server and of the wire

    @is_up
    @rule()
    def remember(self) -> None:
        if all(job.is_sure for job in self.jobs):  # pragma: no branch
            self.note("remember")
            self.world.remember()
            self.remembered = [job.possible for job in self.jobs]

    @is_up
    @rule(how=st.sampled_from(["with data", "empty", "rolled back"]))
    def kill(self, how: str) -> None:
        self.note(f"kill -9, then {how}")
        began = time.monotonic()
        if how == "rolled back":
            self.world.rollbacks += 1
        self.world.kill()
        for job in self.jobs:
            job.pending.clear()  # What waited in a socket is lost.
        if how == "empty":
            self.world.lose_data()
            for job in self.jobs:
                job.settle([None], began)
        elif how == "rolled back":
            self.roll_back(began)

    @precondition(lambda self: not self.world.is_up)
    @rule()
    def start(self) -> None:
        self.note("start")
        self.world.start()

    @is_up
    @rule(seconds=st.sampled_from([0.1, 0.3, 0.7]))
    def freeze(self, seconds: float) -> None:
        self.note("SIGSTOP", seconds)
        self.world.freeze(seconds)

    @rule(fault=st.sampled_from(["blackhole", "cut", "swallow", "hold", "calm"]))
    def link(self, fault: str) -> None:
        self.note(f"link: {fault}")
        if fault == "hold":
            for job in self.jobs:
                job.was_delayed = True
        self.world.link(fault)

    @rule(seconds=st.sampled_from([0.0, 0.02, 0.1, 0.3, 0.6]))
    def let_pass(self, seconds: float) -> None:
        self.note("let pass", seconds)
        time.sleep(seconds)

    # Watchers

    @rule(n=jobs, kind=st.sampled_from([*KINDS, "sse"]), last=st.sampled_from(
        ["", "last", "older", *JUNK_IDS]))  # fmt: skip
    def watch(self, n: int, kind: str, last: str) -> None:
        if len(self.watchers) < MOST_WATCHERS:  # pragma: no branch
            job = self.jobs[n]
            event_id = {"last": self.ids(job)[-1], "older": self.ids(job)[0]}.get(last, last)
            self.note("watch", kind, job.job_id, event_id)
            self.watchers.append(KINDS[kind](self.world, job, event_id))

    @rule(index=indexes)
    def drop(self, index: int) -> None:
        if self.watchers:
            self.leave(index)

    @rule(index=indexes)
    def reconnect(self, index: int) -> None:
        if self.watchers:  # pragma: no branch - it depends on the schedule
            left = self.leave(index)
            self.note("reconnect", left.kind, left.job.job_id, left.last_event_id)
            kind = KINDS[left.kind]
            self.watchers.append(kind(self.world, left.job, left.last_event_id))

    @rule()
    def rest(self) -> None:
        self.check_at_rest()
