"""What one watched job looks like, out of reads of its hash and messages on its channel.

A read is the truth of the moment at which Redis executed it. A message may be older than what is
known, or come from an earlier life of the job, or from a publisher that is not ours.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from . import sse
from .answers import gone_message
from .snapshot import (
    Fields,
    Stored,
    is_terminal,
    loads,
    represent,
    split_bookkeeping,
    to_json,
)

MAX_MESSAGE_BYTES = 256 * 1024
"""A larger message is not parsed: ours stay below 64 KiB and what surrounds them."""
MISSES_UNTIL_GONE = 2
"""How many heartbeats in a row a job must be absent: an emptied Redis is written again by the
worker, and a reader that comes in between must not call the job gone."""


class JunkMessage(ValueError):
    """A message that says nothing which a watcher could be shown."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """What a watcher sees at one moment. It is shared by all the watchers of a job."""

    job_id: str
    fields: Mapping[str, Any]
    """The snapshot; empty where the job is gone."""
    order: tuple[int, int, int]
    """Life and version of what is stored, and how many partial messages were merged over it."""
    owner: str | None = None
    gone: bool = False
    """Whether the job was deleted or has expired."""
    stalled: bool = False
    """Whether the job's worker was silent for longer than it had promised."""
    cancelling: bool = False
    """Whether the job was asked to stop, and has not ended yet."""

    @functools.cached_property
    def ended(self) -> bool:
        """Whether nothing comes after this."""
        return self.gone or is_terminal(self.fields)

    @property
    def event_id(self) -> str:
        """The opaque id of this state, for SSE; it says whether and how a stream ended with it."""
        end = "-gone" if self.gone else "-end" if self.ended else ""
        return "-".join(map(str, self.order)) + end

    @functools.cached_property
    def representation(self) -> Fields:
        """What JSON, SSE, WebSocket and the page show."""
        return represent(self.job_id, self.fields, stalled=self.stalled, cancelling=self.cancelling)

    @functools.cached_property
    def event(self) -> bytes:
        """The event that tells this state over SSE, made once for all who watch."""
        if self.gone:
            return gone_event(self.job_id, self.event_id)
        return sse.frame(self.json, event_id=self.event_id)

    @functools.cached_property
    def frame(self) -> bytes:
        """The same, and what follows where this job is the stream's only one, and has ended."""
        return self.event + sse.END if self.ended and not self.gone else self.event

    @functools.cached_property
    def message(self) -> str:
        """The message that tells this state over a WebSocket, made once for all who watch."""
        return gone_message(self.job_id) if self.gone else self.json.decode()

    @functools.cached_property
    def json(self) -> bytes:
        """The representation as JSON, made once for all who watch."""
        return to_json(self.representation)


def gone_event(job_id: str, event_id: str = "") -> bytes:
    """Return the event that tells that there is nothing to be watched under this id."""
    return sse.frame(to_json({"job_id": job_id}), event="gone", event_id=event_id)


def gone_state(job_id: str, mark: tuple[int, int] = (0, 0)) -> State:
    """Return what is seen of a job that was deleted or has expired; `mark` is its last write."""
    return State(job_id=job_id, fields={}, order=(*mark, 0), gone=True)


def tells_deletion(payload: bytes | str) -> bool:
    """Tell whether a message says that its job was deleted; junk does not."""
    try:
        return "_gone" in _parse(payload)
    except JunkMessage:
        return False


def state_of(job_id: str, stored: Stored) -> State:
    """Return what a reader sees who has read `stored`, and watches nothing."""
    return State(
        job_id=job_id,
        fields=stored.fields,
        order=(*stored.order, 0),
        owner=stored.owner,
        stalled=stored.stalled,
        cancelling=stored.cancelling,
    )


class JobView:
    """The newest that is known of one job. Each method tells whether watchers see a change."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.state: State | None = None
        """None until something is known."""
        self._stored: Stored | None = None
        self._overlay: Fields = {}
        self._told: dict[str, datetime | None] = {}
        """When each field of the overlay was told, by its publisher's clock."""
        self._overlays = 0
        self._misses = 0
        self.unsure = False
        """Whether a partial message came that no read has followed. Its sender may have stored
        something as well, and told nobody: then the hash knows more than the message."""

    @property
    def is_stored(self) -> bool:
        """Whether the job was ever read, or told of by who stores it."""
        return self._stored is not None

    @property
    def mark(self) -> tuple[int, int]:
        """What is known now; to be passed to `read` with the answer of a read begun now."""
        return (0, 0) if self._stored is None else self._stored.order

    def read(self, stored: Stored | None, *, mark: tuple[int, int], heartbeat: bool) -> bool:
        """Take the answer of a read that was begun when `mark` was the newest.

        Args:
            stored: what is in the hash, None where there is none.
            mark: `self.mark` of the moment when the read was sent.
            heartbeat: whether an absence counts; it does not when the read had another cause.
        """
        self.unsure = False
        if self._is_gone:
            return False
        if stored is None:
            return self._absent() if heartbeat else False
        self._misses = 0
        known = self._stored
        # Below the mark: Redis has gone back (a fail-over, a restart from an old file, a deletion
        # that went unheard). Between the mark and what is known: a message overtook the answer.
        if known is not None and mark <= stored.order < known.order:
            return False
        if known is not None and _shows_the_same(stored, known):
            self._stored = stored  # Only a read tells the owner.
            return False
        self._overlay = self._overlay_since(stored)
        return self._show(stored)

    def message(self, payload: bytes | str) -> bool:
        """Take one message of the job's channel.

        Raises:
            JunkMessage: it is too large, not a JSON object, or has bookkeeping that is not ours.
        """
        values = _parse(payload)
        if self._is_gone:
            return False
        if not any(name.startswith("_") for name in values):
            return self._partial(values)
        if "_gone" in values:
            return self._deleted(values["_gone"])
        known = self._stored
        if known is not None and known.life == values.get("_l"):
            values["_o"] = known.owner  # Only a read tells it.
        stored = split_bookkeeping(values)
        if not stored.version:
            raise JunkMessage("it has bookkeeping fields that are not ours")
        if known is not None and stored.order <= known.order:
            # An earlier life, or a later one by a clock that was set back: only a read can tell.
            self.unsure |= stored.life < known.life
            return False
        self._misses = 0
        self._overlay = {}
        return self._show(stored)

    @property
    def _is_gone(self) -> bool:
        return self.state is not None and self.state.gone

    def _partial(self, values: Fields) -> bool:
        overlay = {**self._overlay, **values}
        if len(to_json(overlay)) > MAX_MESSAGE_BYTES:
            raise JunkMessage("there are too many of its kind since something was stored")
        stored = {} if self._stored is None else self._stored.fields
        told, written = (_instant(fields.get("updated_at")) for fields in (values, stored))
        if told is not None and written is not None and told < written and not is_terminal(values):
            return False  # A read has overtaken it. (An end must arrive, whatever the clocks.)
        if self.state is not None and self.state.ended and not is_terminal({**stored, **overlay}):
            return False  # Who has not been told of the end yet must not miss it.
        # Of the overlay alone: each message could have fields of other names.
        self._told = {name: self._told[name] for name in self._overlay}
        self._told.update(dict.fromkeys(values, told))
        self._overlay = overlay
        self._overlays += 1
        self.unsure = True
        return self._show(self._stored)

    def _overlay_since(self, stored: Stored) -> Fields:
        """Return what was told after `stored` was written: the writers' clocks must say so.

        An end that is stored is never hidden by a message that is not one.
        """
        written = _instant(stored.fields.get("updated_at"))
        since = {
            name: value
            for name, value in self._overlay.items()
            if written is not None and (told := self._told[name]) is not None and told >= written
        }
        return {} if stored.ended and not is_terminal(since) else since

    def _deleted(self, life: object) -> bool:
        known = self._stored
        if known is None or known.life != life:
            return False
        return self._vanish()

    def _absent(self) -> bool:
        if self._stored is None:
            return False
        self._misses += 1
        return self._vanish() if self._misses >= MISSES_UNTIL_GONE else False

    def _vanish(self) -> bool:
        self.state = gone_state(self.job_id, self.mark)
        return True

    def _show(self, stored: Stored | None) -> bool:
        self._stored = stored
        if stored is None:
            stored = Stored(fields={}, life=0, version=0)
        state = state_of(self.job_id, stored)
        if self._overlay:
            stored = dataclasses.replace(stored, fields={**stored.fields, **self._overlay})
            state = state_of(self.job_id, stored)  # One that was told to have ended is not stalled.
            state = dataclasses.replace(state, order=(*self.mark, self._overlays))
        self.state = state
        return True

    def lease_is_over(self, now: int) -> bool:
        """Tell whether the worker should have been heard of by `now` (µs by Redis's clock)."""
        known, state = self._stored, self.state
        if known is None or state is None or state.ended or state.stalled:
            return False
        return 0 < known.lease < now


def _shows_the_same(stored: Stored, known: Stored) -> bool:
    if (stored.order, stored.stalled) != (known.order, known.stalled):
        return False
    return stored.fields == known.fields  # Else somebody else wrote into the hash.


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


def _instant(text: object) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return instant if instant is not None and instant.tzinfo is not None else None
