"""The state of a job as watchers see it, encoded once for all of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from . import sse
from .messages import gone_message
from .snapshot import Fields, Stored, Written, is_terminal, represent, to_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """The state of a job at one moment, shared by all its watchers."""

    job_id: str
    fields: Mapping[str, Any]
    """The snapshot; empty if the job is gone."""
    order: tuple[int, int, int]
    """Life and version of the stored snapshot, and how many partial messages are merged."""
    owner: str | None = None
    gone: bool = False
    """Whether the job was deleted or has expired."""
    stalled: bool = False
    """Whether the worker's lease has expired."""
    cancelling: bool = False
    """Whether cancellation was requested and the job has not ended yet."""

    @functools.cached_property
    def ended(self) -> bool:
        """Whether this is the last state."""
        return self.gone or is_terminal(self.fields)

    @property
    def event_id(self) -> str:
        """The opaque SSE id of this state."""
        return "-".join(map(str, self.order))

    @property
    def end(self) -> str:
        """How the job ended with this state, for `sse.end_id`."""
        life, version, overlays = self.order
        return sse.NO_JOB if self.gone else sse.ending_of(life, version, is_stored=not overlays)

    @functools.cached_property
    def representation(self) -> Fields:
        """What JSON, SSE, WebSocket and the page show."""
        return represent(self.job_id, self.fields, stalled=self.stalled, cancelling=self.cancelling)

    @functools.cached_property
    def event(self) -> bytes:
        """The SSE event of this state, encoded once for all watchers."""
        if self.gone:
            return gone_event(self.job_id)
        return sse.frame(self.json, event_id=self.event_id)

    @functools.cached_property
    def frame(self) -> bytes:
        """The SSE event for a stream of this job only; includes `end` if the job has ended."""
        if not self.ended:
            return self.event
        end = sse.end_id({self.job_id: self.end})
        if self.gone:
            return gone_event(self.job_id, end)
        return sse.frame(self.json, event_id=end) + sse.end()

    @functools.cached_property
    def message(self) -> str:
        """The WebSocket message of this state, encoded once for all watchers."""
        return gone_message(self.job_id) if self.gone else self.json.decode()

    @functools.cached_property
    def json(self) -> bytes:
        """The representation as JSON, encoded once for all watchers."""
        return to_json(self.representation)


def gone_event(job_id: str, event_id: str = "") -> bytes:
    """Return the SSE event that says that there is no job to watch under this id."""
    return sse.frame(to_json({"job_id": job_id}), event="gone", event_id=event_id)


def gone_state(job_id: str, written: Written = (0, 0)) -> State:
    """Return the state of a job that was deleted or has expired; `written` is its last write."""
    return State(job_id=job_id, fields={}, order=(*written, 0), gone=True)


def state_of(job_id: str, stored: Stored, overlays: int = 0) -> State:
    """Return the state of a stored job with `overlays` partial messages merged over it."""
    return State(
        job_id=job_id,
        fields=stored.fields,
        order=(*stored.written, overlays),
        owner=stored.owner,
        stalled=stored.stalled,
        cancelling=stored.cancelling,
    )


def description_of(job_id: str, stored: Stored | None) -> Fields | None:
    """Return the representation of a stored job; None if there is no job."""
    if stored is None or stored.deleted:
        return None
    return state_of(job_id, stored).representation
