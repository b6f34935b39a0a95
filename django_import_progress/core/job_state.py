"""The state of one job as a watcher sees it, framed once for all its watchers."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from ..core import sse
from .messages import gone_message
from .resume import NO_JOB, end_id, ending_of
from .snapshot import Fields, Stored, Written, is_terminal, represent, to_json


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
        """The opaque id of this state, for SSE."""
        return "-".join(map(str, self.order))

    @property
    def end(self) -> str:
        """How the job ended with this state, as `resume.end_id` needs it."""
        life, version, overlays = self.order
        return NO_JOB if self.gone else ending_of(life, version, is_stored=not overlays)

    @functools.cached_property
    def representation(self) -> Fields:
        """What JSON, SSE, WebSocket and the page show."""
        return represent(self.job_id, self.fields, stalled=self.stalled, cancelling=self.cancelling)

    @functools.cached_property
    def event(self) -> bytes:
        """The event of this state over SSE, made once for all watchers."""
        if self.gone:
            return gone_event(self.job_id)
        return sse.frame(self.json, event_id=self.event_id)

    @functools.cached_property
    def frame(self) -> bytes:
        """The same, and what follows if this job is the stream's only one, and has ended."""
        if not self.ended:
            return self.event
        end = end_id({self.job_id: self.end})
        if self.gone:
            return gone_event(self.job_id, end)
        return sse.frame(self.json, event_id=end) + sse.end()

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


def gone_state(job_id: str, written: Written = (0, 0)) -> State:
    """Return the state of a job that was deleted or has expired; `written` is its last write."""
    return State(job_id=job_id, fields={}, order=(*written, 0), gone=True)


def state_of(job_id: str, stored: Stored, overlays: int = 0) -> State:
    """Return the state that `stored` says, with so many partial messages merged over it."""
    return State(
        job_id=job_id,
        fields=stored.fields,
        order=(*stored.written, overlays),
        owner=stored.owner,
        stalled=stored.stalled,
        cancelling=stored.cancelling,
    )


def description_of(job_id: str, stored: Stored | None) -> Fields | None:
    """Return the representation of a job as it is stored; None where there is none."""
    if stored is None or stored.deleted:
        return None
    return state_of(job_id, stored).representation
