"""What was written to one job, and so what may be stored, and what may be shown of it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Fields = dict[str, Any]
Stored = Fields | None
"""A snapshot without `updated_at`; None where the job is not there."""

TERMINAL = ("done", "failed", "cancelled")
REMEMBERED = ("status", "processed_rows", "total_rows")
"""What an outcome has of the snapshot; rows that are no numbers are null."""
_NOTHING = object()
BRIEF_SECONDS = 0.4
"""No two heartbeats lie within that: a job that was absent for less must not be called gone."""


def has_ended(fields: Stored) -> bool:
    """Tell whether a snapshot is the last of its attempt."""
    return fields is not None and fields.get("status") in TERMINAL


def unstamped(fields: Mapping[str, Any] | None) -> Stored:
    """Leave out the one field that the writer does not choose."""
    if fields is None:
        return None
    return {name: value for name, value in fields.items() if name != "updated_at"}


def is_outcome_of(shown: Mapping[str, Any], fields: Fields) -> bool:
    """Tell whether `shown` is what is remembered of a job that ended with `fields`."""
    return has_ended(fields) and all(
        shown[name] is None or shown[name] == fields[name] for name in REMEMBERED
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Partial:
    """A partial message."""

    fields: Fields
    is_marked: bool
    """Whether it names the version on which it builds."""
    is_lost: bool
    """Whether it may have been published later, or never."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Op:
    """One write: `number` is unique in the example, and grows; all of `data` follows from it."""

    verb: str
    number: int
    data: Fields

    def outcome(self, before: Stored) -> Stored:
        """Return what is stored afterwards."""
        return _OUTCOMES[self.verb](before, self.data)


_OUTCOMES: dict[str, Callable[[Stored, Fields], Stored]] = {
    "set_progress": lambda before, data: data,
    "create": lambda before, data: {"status": "queued", **data} if before is None else before,
    "update": lambda before, data: (
        before if before is None or has_ended(before) else {**before, **data}
    ),
    "delete": lambda before, data: None,
}


@dataclasses.dataclass(kw_only=True)
class Absence:
    """A time in which the job may have been absent."""

    began: float
    ended: float = math.inf
    told: bool = False
    """Whether it was deleted by us, of which watchers are told at once."""


class JobModel:
    """One job: all that it may hold now, and all that it ever held.

    A write whose answer was lost may have happened, may happen later, or never: so what is stored
    is a set of possibilities, of which each answer leaves one.
    """

    def __init__(self, job_id: str, clock: Callable[[], float]) -> None:
        self.job_id = job_id
        self.possible: list[Stored] = [None]
        self.stored: Stored = None
        """What the last read of the truth has found."""
        self.pending: list[Op] = []
        """Writes whose answer was lost, and which may still come."""
        self.absences = [Absence(began=0.0)]
        self.was_delayed = False
        """Whether messages may have been late: one without a mark may be older than a read."""
        self.ends: dict[str, int | None] = {}
        """The number of the write with which streams ended, by the id of that end."""
        self._clock = clock
        self._written: dict[int, list[Fields]] = {}
        self._stamps: dict[int, set[str]] = {}
        """When a write was stored, by its number; of those whose answer came."""
        self._partials: dict[int, Partial] = {}

    @property
    def is_sure(self) -> bool:
        """Whether there is just one thing that can be stored now."""
        return len(self.possible) == 1 and not self.pending

    def settle(
        self, states: Iterable[Stored], began: float | None = None, *, told: bool = False
    ) -> None:
        """Take note of what may be stored now; `began`: when that may have begun to be so."""
        now = self._clock()
        found = list(states)
        for state in found:  # It grows on the way: a write that is pending may hit any of them.
            for op in self.pending:
                after = op.outcome(state)
                if after not in found:
                    found.append(after)
        self.possible = found
        for state in filter(None, found):
            snapshots = self._written.setdefault(state["n"], [])
            if state not in snapshots:
                snapshots.append(state)
        open_ended = self.absences and self.absences[-1].ended == math.inf
        if None in found:
            if not open_ended:
                self.absences.append(Absence(began=now if began is None else began))
            self.absences[-1].told |= told
        elif open_ended:
            self.absences[-1].ended = now

    def lose(self, op: Op, began: float) -> None:
        """Take note of a write whose answer was lost."""
        self.pending.append(op)
        self.settle(self.possible, began, told=op.verb == "delete")

    def answered(self, op: Op, reply: Mapping[str, Any] | None, began: float) -> None:
        """Check the answer of a write that went through, and take it for what is stored."""
        outcomes = [op.outcome(state) for state in self.possible]
        state = op.outcome(None) if reply is None else unstamped(reply)
        assert state in outcomes, f"{op} answered {reply}; possible was {self.possible}"
        if reply is not None:
            self._stamps.setdefault(op.number, set()).add(reply["updated_at"])
        self.settle([state], began, told=op.verb == "delete")

    def refused(self, is_reason: Callable[[Stored], bool], reason: str) -> None:
        """Check that a write was refused with good reason, which is then what is stored."""
        states = [state for state in self.possible if is_reason(state)]
        assert states, f"{reason}, but possible was {self.possible}"
        self.settle(states)

    def found(self, stored: Mapping[str, Any] | None) -> None:
        """Check what a read of the truth has found."""
        state = unstamped(stored)
        assert state in self.possible, f"stored is {stored}; possible was {self.possible}"
        self.settle([state])
        self.stored = state

    def publish(self, number: int, partial: Partial) -> None:
        """Take note of a partial message."""
        self._partials[number] = partial

    def explain(self, shown: Fields, since: float) -> Fields:
        """Return the stored snapshot that `shown` is, partial messages merged over it or not.

        Args:
            shown: what a watcher got.
            since: when it began to watch.
        """
        if shown.get("expired"):
            return self.ended_as(shown)
        if "n" in shown:
            bases: list[Fields] = self._written.get(shown["n"], [])
        else:
            bases = [{}] if self._was_absent(since) else []
        for base in bases:
            if self._is_over(shown, base):
                return base
        raise AssertionError(
            f"{self.job_id} never was {shown}; written: {self._written.get(shown.get('n', 0))};"
            f" partials: {self._partials}"
        )

    def ended_as(self, shown: Mapping[str, Any]) -> Fields:
        """Return the stored snapshot whose outcome `shown` is."""
        written = itertools.chain.from_iterable(self._written.values())
        ends = [fields for fields in written if is_outcome_of(shown, fields)]
        assert ends, f"{self.job_id} never ended as {shown}"
        return ends[-1]

    def _is_over(self, shown: Fields, base: Fields) -> bool:
        if not base.keys() <= shown.keys():
            return False
        if "p" in shown and shown["p"] ** 2 != shown["p_square"]:
            return False
        return all(
            (name in base and base[name] == value)
            or (name == "updated_at" and self._is_stamp_of(value, base))
            or any(value == one.fields.get(name, _NOTHING) for one in self._partials.values())
            for name, value in shown.items()
        )

    def _is_stamp_of(self, value: Any, base: Fields) -> bool:
        known = self._stamps.get(base.get("n", 0))
        return bool(base) and (known is None or value in known)

    def is_current(self, shown: Fields) -> bool:
        """Tell whether `shown` is what is stored, or that under partial messages that are newer."""
        stored = self.stored
        if stored is None:
            return "n" not in shown
        if shown.get("n") != stored["n"] or not self._is_over(shown, stored):
            return False
        return all(
            self._may_cover(number, stored)
            for name, value in shown.items()
            if name.startswith("p") and name not in stored
            for number in [math.isqrt(value) if name == "p_square" else value]
        )

    def _may_cover(self, number: int, stored: Fields) -> bool:
        """Tell whether a partial message may be seen over what is stored."""
        partial = self._partials[number]
        is_late = (self.was_delayed or partial.is_lost) and not partial.is_marked
        return number > stored["n"] or is_late

    def _was_absent(self, since: float) -> bool:
        return any(absence.ended >= since for absence in self.absences)

    def may_be_gone(self, since: float, now: float, *, hasty: bool) -> bool:
        """Tell whether a watcher may be told that the job is gone.

        Args:
            since: when it began to watch, and some.
            now: when it was told.
            hasty: whether two heartbeats may have been answered at once.
        """
        return any(
            absence.told or hasty or min(now, absence.ended) - absence.began >= BRIEF_SECONDS
            for absence in self.absences
            if absence.ended >= since and absence.began <= now
        )
