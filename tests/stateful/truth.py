"""What was stored and published of one job, and which last state of a watcher that explains.

After each step the hash is read as it stands in Redis, and the messages of the channel are
collected in their order. A watcher's last state is right if it is a stored snapshot under fields of
partial messages that may lie over it:

- a marked message lies over the version that it names, and over no other one;
- a message without a mark (of another program, or of an earlier release) lies over the version that
  was stored when it was published, or that the watcher knew when it came in;
- where the hash was absent, or had no version (another program had written it by `HSET`), nothing
  can be ordered: what was published up to then may lie over it, too.

What another program writes by `HSET` into a hash that has a version makes no new version. Until the
next heartbeat watchers may show the fields as they were before, and after it what was published
before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Protocol

from django_import_progress.core.snapshot import Fields, Written, is_terminal, loads

ABSENT: Written = (0, 0)
"""The version of a hash that is not there, or that another program has made."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """What is stored after one step."""

    written: Written
    """Life and version; `ABSENT` where there are none."""
    fields: Fields | None
    """The user's fields; None where there is no hash."""
    outcome: Fields | None = None
    """What is remembered of a job whose snapshot has expired."""
    is_deleted: bool = False
    """Whether the job was deleted, and not created again."""

    @property
    def ended(self) -> bool:
        """Whether the stored snapshot is a last one."""
        return self.fields is not None and is_terminal(self.fields)


NOTHING = Moment(written=ABSENT, fields=None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Partial:
    """A partial message."""

    fields: Fields
    mark: Written | None
    """The version on which its publisher builds; None: it does not say."""
    at: int
    """The number of the step that published it."""
    payload: bytes


class Judged(Protocol):
    """What has to be known of a watcher."""

    opened: int
    """The number of the step after which it began."""

    @property
    def last(self) -> Fields | None:
        """The fields that it was shown last; None before the first, and once the job is gone."""

    @property
    def ended(self) -> bool:
        """Whether it was told that nothing more will come."""

    @property
    def is_stored(self) -> bool:
        """Whether it has ever known what is stored."""

    @property
    def known_at(self) -> dict[bytes, Written]:
        """The version that it knew when a message came in, by the message."""


def partial_in(payload: bytes, at: int) -> Partial | None:
    """Parse a message; None unless it is a partial one of database 0."""
    try:
        values = loads(payload)
    except ValueError:
        return None
    if not isinstance(values, dict) or values.get("_db", 0) != 0:
        return None
    fields = {name: value for name, value in values.items() if not name.startswith("_")}
    match values:
        case {"_m": [0, 0]}:
            return Partial(fields=fields, mark=None, at=at, payload=payload)
        case {"_m": [int(life), int(version)]}:
            return Partial(fields=fields, mark=(life, version), at=at, payload=payload)
    if len(fields) < len(values):
        return None
    return Partial(fields=fields, mark=None, at=at, payload=payload)


class Truth:
    """One job: what was stored after each step, and what was published."""

    def __init__(self) -> None:
        self.moments = [NOTHING]
        self.partials: list[Partial] = []

    def note(self, moment: Moment, payloads: list[bytes]) -> None:
        """Take note of one more step."""
        at = len(self.moments)
        self.moments.append(moment)
        self.partials += filter(None, (partial_in(payload, at) for payload in payloads))

    def check(self, watcher: Judged, *, has_beats: bool) -> None:
        """Check the last state of a watcher that has received and read all that there is.

        Args:
            watcher: the watcher.
            has_beats: whether heartbeats have had it read the job lately.
        """
        assert self.is_right(watcher, has_beats=has_beats), self._story(watcher)

    def is_right(self, watcher: Judged, *, has_beats: bool) -> bool:
        """Tell whether `check` would pass."""
        if watcher.ended:
            return self._may_be_last(watcher, has_beats)
        now = self.moments[-1]
        is_missed = now.fields is None and has_beats and watcher.is_stored
        if now.is_deleted or now.outcome is not None or is_missed:
            return False  # It should have ended.
        if now.fields is None:
            # Without heartbeats a watcher may know a version that was replaced by one which nobody
            # could read before the hash was deleted.
            bases = [NOTHING] if has_beats else [NOTHING, *self.moments]
            return watcher.last is None or self._is_over_any(bases, watcher)
        same = [moment for moment in self.moments if moment.written == now.written]
        bases = [now] if has_beats or now.written == ABSENT else same
        return self._is_over_any(bases, watcher) and self._has_all_that_it_must(watcher)

    def _may_be_last(self, watcher: Judged, has_beats: bool) -> bool:
        seen = self.moments[watcher.opened :]
        # While another watcher keeps an ended job known, one that joins is shown that end with all
        # its fields, and not only the remembered outcome; also if the hash was deleted since.
        before = self.moments[: watcher.opened] if seen[0].fields is None else []
        whole = [moment for moment in before if moment.ended][-1:]
        if watcher.last is None:
            return any(
                moment.is_deleted or (has_beats and moment.fields is None) for moment in seen
            )
        if any(moment.outcome == watcher.last for moment in seen):
            return True
        if any(moment.ended and moment.fields == watcher.last for moment in [*whole, *seen]):
            return True
        return is_terminal(watcher.last) and self._is_over_any(
            [NOTHING, *self._since(watcher)], watcher
        )

    def _since(self, watcher: Judged) -> Iterator[Moment]:
        """Yield what the watcher may know."""
        first = self._written_at(watcher.opened)
        for at, moment in enumerate(self.moments):
            if at >= watcher.opened or moment.written >= first:
                yield moment

    def _is_over_any(self, bases: list[Moment], watcher: Judged) -> bool:
        return any(self._is_over(base, watcher) for base in bases if not base.ended)

    def _is_over(self, base: Moment, watcher: Judged) -> bool:
        shown, fields = watcher.last, base.fields or {}
        if shown is None or not fields.keys() <= shown.keys():
            return False
        over = [one for one in self.partials if self._lies_over(one, base.written, watcher)]
        return all(
            (name in fields and fields[name] == value)
            or any(name in one.fields and one.fields[name] == value for one in over)
            for name, value in shown.items()
        )

    def _lies_over(self, partial: Partial, written: Written, watcher: Judged) -> bool:
        is_loose = any(moment.written == ABSENT for moment in self.moments[partial.at :])
        mark = partial.mark or self._written_at(partial.at)
        if mark < written:
            return partial.mark is None and watcher.known_at.get(partial.payload) == written
        if is_terminal(partial.fields) and self.moments[partial.at].written != written:
            return is_loose  # Else a late end of an earlier run.
        return mark == written or is_loose

    def _written_at(self, at: int) -> Written:
        """Return the newest version that had been stored by then."""
        return max(moment.written for moment in self.moments[: at + 1])

    def _has_all_that_it_must(self, watcher: Judged) -> bool:
        """Tell whether it shows what was published over the stored version since it began."""
        now = self.moments[-1]
        same = [moment for moment in self.moments if moment.written == now.written]
        if now.written == ABSENT or any(moment.fields != now.fields for moment in same):
            return True
        shown = watcher.last or {}
        over = [
            one
            for one in self.partials
            if one.at > watcher.opened and self._lies_over(one, now.written, watcher)
        ]
        marked = [(at, one) for at, one in enumerate(over) if one.mark == now.written]
        newest = {name: at for at, one in marked for name in one.fields}
        return all(
            name in shown
            and shown[name] in [one.fields[name] for one in over[at:] if name in one.fields]
            for name, at in newest.items()
        )

    def _story(self, watcher: Judged) -> str:
        lines = [f"{watcher} began after step {watcher.opened}, ended: {watcher.ended}"]
        lines += [f"was shown last: {watcher.last}"]
        for at, moment in enumerate(self.moments):
            lines += [f"{at}: {one.mark} {one.fields}" for one in self.partials if one.at == at]
            lines.append(f"{at}: stored {moment}")
        return "\n".join(lines)
