"""The state of one watched job, computed from reads of its hash and messages on its channel.

A read is correct for the moment at which Redis executed it. A message may be older than the known
state, or come from an earlier life of the job, another database, or another program.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from .job_state import State, gone_state, state_of
from .snapshot import (
    Fields,
    Order,
    Stored,
    Written,
    is_terminal,
    loads,
    number_of,
    split_bookkeeping,
    to_json,
)

MAX_MESSAGE_BYTES = 256 * 1024
"""Larger messages are not parsed: ours are at most 64 KiB and a few bookkeeping fields."""
MISSES_UNTIL_GONE = 2
"""For how many consecutive heartbeats a job must be absent: after Redis was emptied the worker
writes the job again, and a read before that must not end the streams."""
UNKNOWN = Stored(fields={}, life=0, version=0)
"""The initial value: older than anything that can be stored."""


class JunkMessage(ValueError):
    """A message that cannot be shown to watchers."""


class ReadStart(NamedTuple):
    """The known state of a job when a read of it was sent."""

    order: Order
    doubts: int


class JobStateReducer:
    """The newest known state of a job, computed from reads of its hash and from messages.

    States are ordered by life and version of the hash, not by a clock. A partial message (from
    `publish_update` or another program) is merged over the snapshot on which its publisher builds,
    until a newer snapshot is stored. A partial message that ends the job is shown only after a
    read has confirmed it.

    `apply_read` and `apply_message` return whether watchers see a change.
    """

    def __init__(self, job_id: str, database: int = 0) -> None:
        self.job_id = job_id
        self.state: State | None = None
        """None until the job was read or a message was received."""
        self._database = database
        self._stored = UNKNOWN
        self._overlay: Fields = {}
        self._builds_on: Written = (0, 0)
        """The snapshot over which the overlay is merged."""
        self._mark: Written = (0, 0)
        """The mark of the last partial message: newer if Redis has lost data since."""
        self._overlays = 0
        self._misses = 0
        self._doubts = 0
        """How many messages were received that need a read."""
        self._settled = 0
        """How many of these a read has followed."""
        self._is_ahead = False
        """Whether a read has overtaken messages that are still to be received. They need no read: a
        hub that is behind could never catch up if each of them caused one."""
        self._lease, self._lease_ends = 0, 0.0
        """The last lease, and when it expires by the reader's clock."""
        self._overdue = 0
        """A lease that has expired by the reader's clock, whatever Redis's clock says."""
        self._confirmed_from = 0
        """How many doubts must be settled before the base of the overlay is confirmed."""

    @property
    def is_stored(self) -> bool:
        """Whether the job was ever read, or a whole snapshot of it received."""
        return self._stored is not UNKNOWN

    @property
    def needs_read(self) -> bool:
        """Whether the hash may be newer than the known state."""
        return self._settled < self._doubts

    @property
    def order(self) -> Order:
        """The order of the newest known hash."""
        return self._stored.order

    def begin_read(self) -> ReadStart:
        """Return what to pass to `apply_read` with the result of a read that is sent now."""
        return ReadStart(self.order, self._doubts)

    def apply_read(
        self, stored: Stored | None, since: ReadStart, *, heartbeat: bool = False
    ) -> bool:
        """Apply the result of a read.

        Args:
            stored: the stored job or its record; None if there is neither.
            since: the result of `begin_read()` when the read was sent.
            heartbeat: whether an absence counts; only those at heartbeats do.
        """
        self._settled = max(self._settled, since.doubts)
        if self._is_gone:
            return False
        known = self._stored
        if stored is not None and stored.expired:
            if stored.deleted and stored.written >= known.written:
                return self._mark_gone()
            stored = self._past(stored)
        if stored is None:
            self._misses += heartbeat and self.is_stored
            return self._mark_gone() if self._misses >= MISSES_UNTIL_GONE else self._refresh()
        self._misses = 0
        # Older than what was known when the read was sent: Redis has lost data (a fail-over, a
        # restart from an old file). Otherwise, older than now: a message has overtaken the reply.
        if since.order <= stored.order < known.order:
            if stored.version:
                return self._refresh()
            # Another program has written the hash: nothing says which of the two is newer.
            self._doubts += 1
        self._is_ahead |= stored.order > known.order
        return self._replace(stored)

    def _past(self, stored: Stored) -> Stored | None:
        """Return what to show of a job whose snapshot Redis does not have; None if it is missing.

        Args:
            stored: the record of its end, or what the history knows.
        """
        known = self._stored
        if not stored.is_forgotten:
            if stored.written < known.written:
                return None  # The record of an earlier life.
            # The record has less than the known state.
            return known if known.ended and known.written == stored.written else stored
        if not self.is_stored or known.is_forgotten:
            return stored
        if not stored.ended:
            return known  # Its worker may be alive, and report again.
        return stored if not known.ended and _is_end_of(stored.fields, known.fields) else None

    def apply_message(self, payload: bytes | str) -> bool:
        """Apply a message from the job's channel.

        Raises:
            JunkMessage: it is too large, not a JSON object, or has unknown bookkeeping fields.
        """
        try:
            values = _parse(payload)
            if self._is_gone or not _is_of(self._database, values):
                return False
            if "_gone" in values:
                return self._deleted(values["_gone"])
            if "_m" in values or not any(name.startswith("_") for name in values):
                return self._partial(values)
            return self._whole(values)
        except Exception:
            self._doubts += 1
            raise

    @property
    def _is_gone(self) -> bool:
        return self.state is not None and self.state.gone

    def _whole(self, values: Fields) -> bool:
        stored, known = split_bookkeeping(values), self._stored
        if not stored.version:
            raise JunkMessage("its bookkeeping fields are invalid")
        self._misses = 0
        if stored.order < known.order:
            self._doubts += stored.life < known.life or not self._is_ahead
            return False
        self._is_ahead = False
        if stored.order == known.order:
            return False
        if "_db" not in values and known.life == stored.life:
            # From an earlier release, which does not publish the owner.
            stored = dataclasses.replace(stored, owner=known.owner)
        return self._replace(stored)

    def _partial(self, values: Fields) -> bool:
        """Merge a partial message over the known state, unless that is newer or has ended."""
        fields = {name: value for name, value in values.items() if name[:1] != "_"}
        newest = max(self._stored.written, self._builds_on)
        mark = given = _mark_in(values)
        is_unmarked = mark == (0, 0)
        if is_unmarked or newest < mark == self._mark:  # Redis has lost that snapshot since.
            mark = newest
        self._misses = 0  # Its publisher is alive.
        has_ended = self._stored.ended or is_terminal(self._overlay)
        if mark < newest or (mark == newest and has_ended):
            self._doubts += has_ended or not self._is_ahead
            return False
        self._is_ahead &= is_unmarked
        overlay = fields if mark > self._builds_on else {**self._overlay, **fields}
        if len(to_json(overlay)) > MAX_MESSAGE_BYTES:
            raise JunkMessage("the partial messages since the last stored snapshot are too large")
        self._overlay, self._builds_on, self._mark = overlay, mark, given
        self._overlays += 1
        is_unconfirmed = is_terminal(fields) or mark > self._stored.written
        self._doubts += is_unconfirmed or is_unmarked
        if is_unconfirmed:
            self._confirmed_from = self._doubts
        return self._refresh()

    def _deleted(self, life: object) -> bool:
        if self.is_stored and self._stored.life == life:
            return self._mark_gone()
        self._doubts += 1
        return False

    def _mark_gone(self) -> bool:
        self.state = gone_state(self.job_id, self._stored.written)
        return True

    def _replace(self, stored: Stored) -> bool:
        """Replace the known snapshot, and drop the overlay if it builds on an older one."""
        known = self._stored
        # The same version with other fields: another program has written to the hash.
        is_same_version = self.is_stored and known.written == stored.written
        is_changed = is_same_version and known.fields != stored.fields
        self._stored = stored
        if stored.written > self._builds_on or stored.ended or is_changed:
            self._overlay, self._builds_on = {}, (0, 0)
        elif self._is_confirmed:  # Redis has lost data: the publisher builds on a newer snapshot.
            self._builds_on = stored.written
        return self._refresh()

    @property
    def _is_confirmed(self) -> bool:
        return self._settled >= self._confirmed_from

    def _refresh(self) -> bool:
        """Compute the state; whether it has changed."""
        stored = self._stored
        if stored.lease and stored.lease == self._overdue:
            read_at = max(stored.read_at, stored.lease + 1)
            self._stored = stored = dataclasses.replace(stored, read_at=read_at)
        overlay = {} if stored.ended else self._overlay
        if is_terminal(overlay) and not self._is_confirmed:
            if self.state is not None and self.state.order[:2] == stored.written:
                return False
            overlay = {}  # What is shown is older than what is stored, and may be an earlier end.
        if not (overlay or self.is_stored):
            return False
        if overlay:  # A job that ended by a partial message is not stalled.
            stored = dataclasses.replace(stored, fields={**stored.fields, **overlay})
        state = state_of(self.job_id, stored, self._overlays if overlay else 0)
        if state == self.state:
            return False
        self.state = state
        return True

    def is_lease_over(self, now: int, own: float) -> bool:
        """Tell whether the lease has expired, so that the job needs a read.

        Args:
            now: µs by Redis's clock, which may be set back.
            own: seconds of the reader's monotonic clock.
        """
        known, state = self._stored, self.state
        if not known.lease or state is None or state.ended or state.stalled:
            return False
        if known.lease != self._lease:
            self._lease, self._lease_ends = known.lease, own + (known.lease - now) / 1e6
        if own > self._lease_ends:
            self._overdue = known.lease
        return known.lease < now or own > self._lease_ends


def _is_end_of(ended: Fields, known: Fields) -> bool:
    """Tell whether an attempt that has ended is the known one or a later one."""
    waits = known.get("status") in {"queued", "interrupted"}  # For the attempt after the known one.
    return _attempt_in(ended) >= _attempt_in(known) + waits


def _attempt_in(fields: Fields) -> float:
    return number_of(fields.get("attempt")) or 0


def _is_of(database: int, values: Fields) -> bool:
    """Tell whether a message is from this database; messages of other programs have no database."""
    return bool(values.get("_db", database) == database)


def _mark_in(values: Fields) -> Written:
    """Return the snapshot on which a message's publisher builds; (0, 0) if it has no mark."""
    mark = values.get("_m", [0, 0])
    if isinstance(mark, list) and [type(part) for part in mark] == [int, int]:
        return (mark[0], mark[1])
    raise JunkMessage("its mark is invalid")


def _parse(payload: bytes | str) -> Fields:
    if len(payload) > MAX_MESSAGE_BYTES:
        raise JunkMessage(f"it is {len(payload)} bytes; the maximum is {MAX_MESSAGE_BYTES}")
    try:
        values = loads(payload)
    except ValueError as error:
        raise JunkMessage(f"it is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise JunkMessage("it is not a JSON object")
    return values
