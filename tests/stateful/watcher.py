"""Somebody who watches: what was shown, and whether that may be."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from typing import Any

from .model import JobModel, has_ended
from .world import World

ADDED = ("job_id", "percent", "stalled", "cancelling", "outcome")
"""What a representation has beside the snapshot's fields."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """One state that a watcher was shown."""

    fields: dict[str, Any]
    order: tuple[int, ...] | None
    """Life, version and partial messages, where the watcher is told them."""
    percent: Any = None
    is_gone: bool = False
    moment: float = dataclasses.field(default_factory=time.monotonic)
    rollbacks: int


class Watcher:
    """What all kinds share. What is shown comes in another thread, and is checked in the test's."""

    kind = ""

    def __init__(self, world: World, job: JobModel) -> None:
        self.world = world
        self.job = job
        self.last: Shown | None = None
        self.last_event_id = ""
        self.refused = False
        """Whether the stream was answered with 204."""
        self._inbox: deque[Shown] = deque()
        (at_least,) = job.possible if job.is_sure else (None,)
        self._at_least = 0 if at_least is None else at_least["n"]
        self._rollbacks = world.rollbacks
        self.opened = time.monotonic()

    def __repr__(self) -> str:
        return f"<{self.kind} watcher of {self.job.job_id}: {self.last}>"

    @property
    def over(self) -> bool:
        """Whether it was told that nothing will come, and all it was shown is in."""
        raise AssertionError

    def drop(self) -> None:
        """Go away without a word."""
        raise AssertionError

    def close(self) -> None:
        """Wait until nothing is left of one that was dropped."""

    def _show(self, fields: dict[str, Any], **values: Any) -> None:
        self._inbox.append(Shown(fields=fields, rollbacks=self.world.rollbacks, **values))

    def check(self) -> None:
        """Check what was shown since the last time."""
        is_over = self.over
        while self._inbox:
            shown = self._inbox.popleft()
            before, self.last = self.last, shown
            self.world.process_metrics["snapshots shown"] += 1
            assert before is None or not before.is_gone, f"{shown} came after the job was gone"
            assert before is None or not has_ended(before.fields), f"{shown} came after an end"
            if shown.is_gone:
                self._check_gone(shown.moment)
            else:
                self.job.explain(shown.fields, self.opened)
                self._check_percent(shown)
            self._check_order(before, shown)
        if is_over and not self.refused:
            assert self.last is not None, f"{self} ended with nothing shown"
            assert self.last.is_gone or has_ended(self.last.fields), f"{self} just ended"

    def _check_gone(self, moment: float) -> None:
        hasty = moment < self.world.hasty_until
        assert self.job.may_be_gone(self.opened, moment, hasty=hasty), (
            f"{self} was told that the job is gone: {self.job.absences}, at {moment}"
        )

    def _check_percent(self, shown: Shown) -> None:
        percent = shown.percent
        assert percent is None or (type(percent) is float and 0 <= percent <= 100), shown

    def _check_order(self, before: Shown | None, shown: Shown) -> None:
        if before is None:
            began_anew = self.world.rollbacks > self._rollbacks
            fresh = shown.is_gone or shown.fields.get("n", 0) >= self._at_least
            assert fresh or began_anew or self._was_absent(), f"{self} began with an old state"
            return
        if shown.rollbacks > before.rollbacks or before.rollbacks % 2:
            return  # pragma: no cover - the store itself went back
        if shown.order is not None and before.order is not None:
            # An end by absence is told of what is stored: partial messages count no more.
            length = 2 if shown.is_gone else 3
            assert shown.order[:length] >= before.order[:length], f"{shown} came after {before}"

    def _was_absent(self) -> bool:
        return self.job.absences[-1].ended >= self.opened

    def is_current(self) -> bool:
        """Tell, at rest, whether it has seen what is stored, the end included."""
        self.check()
        if self.over:
            return True
        stored = self.job.stored
        if self.last is None or stored is None:
            return stored is None and (self.last is None or "n" not in self.last.fields)
        return not has_ended(stored) and self.job.is_current(self.last.fields)


def all_current(watchers: list[Watcher], seconds: float) -> float:
    """Wait until each has seen what is stored; how many seconds that took."""
    began = time.monotonic()
    while late := [watcher for watcher in watchers if not watcher.is_current()]:
        assert time.monotonic() - began < seconds, f"not converged in {seconds} s: {late}"
        time.sleep(0.01)
    return time.monotonic() - began
