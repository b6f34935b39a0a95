"""The state of one watched job, computed from reads of its hash and messages on its channel.

A read is the truth of the moment at which Redis executed it. A message may be older than what is
known, or come from an earlier life of the job, from another database, or from another program.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from .job_state import State, gone_state, state_of
from .snapshot import Fields, Order, Stored, Written, is_terminal, loads, split_bookkeeping, to_json

MAX_MESSAGE_BYTES = 256 * 1024
"""A larger message is not parsed: ours stay below 64 KiB and what surrounds them."""
MISSES_UNTIL_GONE = 2
"""How many heartbeats in a row a job must be absent: an emptied Redis is written again by the
worker, and a reader that comes in between must not call the job gone."""
UNKNOWN = Stored(fields={}, life=0, version=0)
"""What is known of a job before anything is: older than all that can be stored."""


class JunkMessage(ValueError):
    """A message that says nothing which a watcher could be shown."""


class ReadStart(NamedTuple):
    """What was known of a job when a read of it was sent."""

    order: Order
    doubts: int


class JobStateReducer:
    """The newest known state of one job, computed from reads of its hash and from messages.

    Life and version of the hash order everything; no clock does. A partial message (one of
    `publish_update`, or of another program) is laid over the snapshot on which its publisher
    builds, until a newer one is stored. A partial message that ends the job is shown only once a
    read has confirmed it.

    `apply_read` and `apply_message` return whether watchers see a change.
    """

    def __init__(self, job_id: str, database: int = 0) -> None:
        self.job_id = job_id
        self.state: State | None = None
        """None until something is known."""
        self._database = database
        self._stored = UNKNOWN
        self._overlay: Fields = {}
        self._builds_on: Written = (0, 0)
        """The snapshot over which the overlay is laid."""
        self._mark: Written = (0, 0)
        """The mark of its last message: more than that if Redis has gone back since."""
        self._overlays = 0
        self._misses = 0
        self._doubts = 0
        """How often something came that only a read can confirm or replace."""
        self._settled = 0
        """How many of these a read has followed."""
        self._is_ahead = False
        """Whether a read has overtaken messages that are still to come: they are no surprise, and
        to read again for each of them would keep a hub that is behind from ever catching up."""
        self._lease, self._lease_ends = 0, 0.0
        """The last lease, and when it ends by the reader's own clock."""
        self._overdue = 0
        """A lease that is over by that clock, whatever Redis's says."""
        self._confirmed_from = 0
        """So many have to be settled until a read confirms what the overlay builds on."""

    @property
    def is_stored(self) -> bool:
        """Whether the job was ever read, or published by a process that stores it."""
        return self._stored is not UNKNOWN

    @property
    def needs_read(self) -> bool:
        """Whether the hash may say more than the messages have."""
        return self._settled < self._doubts

    @property
    def order(self) -> Order:
        """What is known now of the hash."""
        return self._stored.order

    def begin_read(self) -> ReadStart:
        """Note what is known now, for `apply_read` with the answer of a read that begins."""
        return ReadStart(self.order, self._doubts)

    def apply_read(
        self, stored: Stored | None, since: ReadStart, *, heartbeat: bool = False
    ) -> bool:
        """Apply what a read has found.

        Args:
            stored: what is in the hash, or is remembered; None for nothing.
            since: `begin_read()` of the moment when the read was sent.
            heartbeat: whether an absence counts; it does not if the read had another cause.
        """
        self._settled = max(self._settled, since.doubts)
        if self._is_gone:
            return False
        known = self._stored
        if stored is not None and stored.expired:
            if stored.written < known.written:
                stored = None  # Of an earlier life than the one that is absent now.
            elif stored.deleted:
                return self._mark_gone()
            elif known.ended and known.written == stored.written:
                return self._show()  # The same end: more is known of it than is remembered.
        if stored is None:
            self._misses += heartbeat and self.is_stored
            return self._mark_gone() if self._misses >= MISSES_UNTIL_GONE else self._show()
        self._misses = 0
        # Below the order of that moment: Redis has gone back (a fail-over, a restart from an old
        # file). Between that and what is known: a message has overtaken the answer.
        if since.order <= stored.order < known.order:
            return self._show()
        self._is_ahead |= stored.order > known.order
        return self._take(stored)

    def apply_message(self, payload: bytes | str) -> bool:
        """Apply one message of the job's channel.

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
            raise JunkMessage("it has bookkeeping fields that are not ours")
        self._misses = 0
        if stored.order < known.order:
            self._doubts += stored.life < known.life or not self._is_ahead
            return False
        self._is_ahead = False
        if stored.order == known.order:
            return False
        if "_db" not in values and known.life == stored.life:
            # By an earlier release, which does not publish the owner.
            stored = dataclasses.replace(stored, owner=known.owner)
        return self._take(stored)

    def _partial(self, values: Fields) -> bool:
        """Lay a message over what is known, unless that is newer, or an end."""
        fields = {name: value for name, value in values.items() if name[:1] != "_"}
        newest = max(self._stored.written, self._builds_on)
        mark = given = _mark_in(values)
        is_unmarked = mark == (0, 0)
        if is_unmarked or newest < mark == self._mark:  # By now Redis has lost what that was.
            mark = newest
        self._misses = 0  # Its publisher is still there.
        has_ended = self._stored.ended or is_terminal(self._overlay)
        if mark < newest or (mark == newest and has_ended):
            self._doubts += has_ended or not self._is_ahead
            return False
        self._is_ahead &= is_unmarked
        overlay = fields if mark > self._builds_on else {**self._overlay, **fields}
        if len(to_json(overlay)) > MAX_MESSAGE_BYTES:
            raise JunkMessage("there are too many of its kind since something was stored")
        self._overlay, self._builds_on, self._mark = overlay, mark, given
        self._overlays += 1
        is_unconfirmed = is_terminal(fields) or mark > self._stored.written
        self._doubts += is_unconfirmed or is_unmarked
        if is_unconfirmed:
            self._confirmed_from = self._doubts
        return self._show()

    def _deleted(self, life: object) -> bool:
        if self.is_stored and self._stored.life == life:
            return self._mark_gone()
        self._doubts += 1
        return False

    def _mark_gone(self) -> bool:
        self.state = gone_state(self.job_id, self._stored.written)
        return True

    def _take(self, stored: Stored) -> bool:
        """Replace what is known, and the overlay if it builds on something older."""
        known = self._stored
        # The same version with other fields: another program has written into the hash.
        is_same_version = self.is_stored and known.written == stored.written
        is_changed = is_same_version and known.fields != stored.fields
        self._stored = stored
        if stored.written > self._builds_on or stored.ended or is_changed:
            self._overlay, self._builds_on = {}, (0, 0)
        elif self._is_confirmed:  # Redis has gone back: the publisher knew more than is stored.
            self._builds_on = stored.written
        return self._show()

    @property
    def _is_confirmed(self) -> bool:
        return self._settled >= self._confirmed_from

    def _show(self) -> bool:
        """Compute the state anew; whether it is another one."""
        stored = self._stored
        if stored.lease and stored.lease == self._overdue:
            read_at = max(stored.read_at, stored.lease + 1)
            self._stored = stored = dataclasses.replace(stored, read_at=read_at)
        overlay = {} if stored.ended else self._overlay
        if not (overlay or self.is_stored) or (is_terminal(overlay) and not self._is_confirmed):
            return False
        if overlay:  # One that was published to have ended is not stalled.
            stored = dataclasses.replace(stored, fields={**stored.fields, **overlay})
        state = state_of(self.job_id, stored, self._overlays if overlay else 0)
        if state == self.state:
            return False
        self.state = state
        return True

    def is_lease_over(self, now: int, own: float) -> bool:
        """Tell whether the worker should have been heard of by now.

        Args:
            now: µs by Redis's clock, which may be set back.
            own: seconds by the reader's own clock, which is never set back.
        """
        known, state = self._stored, self.state
        if not known.lease or state is None or state.ended or state.stalled:
            return False
        if known.lease != self._lease:
            self._lease, self._lease_ends = known.lease, own + (known.lease - now) / 1e6
        if own > self._lease_ends:
            self._overdue = known.lease
        return known.lease < now or own > self._lease_ends


def _is_of(database: int, values: Fields) -> bool:
    """Tell whether a message is of this database. Other programs do not say of which theirs are."""
    return bool(values.get("_db", database) == database)


def _mark_in(values: Fields) -> Written:
    """Return the snapshot on which a message's publisher builds; (0, 0): it does not say."""
    mark = values.get("_m", [0, 0])
    if isinstance(mark, list) and [type(part) for part in mark] == [int, int]:
        return (mark[0], mark[1])
    raise JunkMessage("its mark is none of ours")


def _parse(payload: bytes | str) -> Fields:
    if len(payload) > MAX_MESSAGE_BYTES:
        raise JunkMessage(f"it is {len(payload)} bytes, {MAX_MESSAGE_BYTES} at most")
    try:
        values = loads(payload)
    except ValueError as error:
        raise JunkMessage(f"it is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise JunkMessage("it is not a JSON object")
    return values
