"""What a reconnecting client says by its `Last-Event-ID`: that its stream came to an end, or not.

An `EventSource` reconnects after every close, and stops only when it is answered with 204. Source:
https://html.spec.whatwg.org/multipage/server-sent-events.html#sse-processing-model
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from . import sse
from .snapshot import Stored
from .state import State, gone_event

_END = re.compile(r"([0-9]{1,20})-([0-9]{1,20})-([0-9]{1,20})-(end|gone)", re.ASCII)
_SEEN = re.compile(r"([0-9]{1,20}-[0-9]{1,20}-[0-9]{1,20})(-absent)?", re.ASCII)
_ALL_ENDED = re.compile(r"all-[0-9a-f]{32}", re.ASCII)


def names_an_end(event_id: str) -> bool:
    """Tell whether `event_id`, which may be anything, is one with which a stream ended."""
    return _END.fullmatch(event_id) is not None


def ended_with(event_id: str, stored: Stored | None) -> bool:
    """Tell whether `event_id` closed a stream of one job to which nothing can be added.

    Args:
        event_id: what a client sent as its ``Last-Event-ID``; may be anything.
        stored: the job as it is now. Written anew since, or made anew, it has news to tell.
    """
    match = _END.fullmatch(event_id)
    if match is None:
        return False
    if stored is None or stored.deleted:
        return True
    # An end may have been told by a message alone, which counts in the third number. One that was
    # stored is stored still, or Redis has gone back and come to the same version by another way.
    is_same = stored.written == (int(match[1]), int(match[2]))
    return match[4] == "end" and is_same and (stored.ended or int(match[3]) > 0)


def absence(job_id: str, last_event_id: str) -> bytes:
    """Return what a client is told that polls a job which is not there.

    The first time after it was there, only an id without an event, which comes back with the next
    poll: Redis may have been emptied, and be written again by the worker. The second time the job
    is gone.
    """
    match = _SEEN.fullmatch(last_event_id)
    if match is None:
        return sse.KEEP_ALIVE
    return (
        sse.mark(f"{match[1]}-absent") if not match[2] else gone_event(job_id, f"{match[1]}-gone")
    )


def names_the_end_of_all(event_id: str) -> bool:
    """Tell whether `event_id`, which may be anything, is one with which several jobs ended."""
    return _ALL_ENDED.fullmatch(event_id) is not None


def end_of_all(ends: Mapping[str, str]) -> str:
    """Return the id with which a stream of several jobs ends.

    Args:
        ends: by job, or by what was asked for in its place, how it ended: see `end_of`.
    """
    text = "\n".join(f"{job} {end}" for job, end in sorted(ends.items()))
    return f"all-{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"


NO_JOB = "gone"
"""The end of a job that is not there, or must not be watched."""


def end_of(state: State) -> str:
    """Return how a job ended, as its watcher saw it."""
    life, version, overlays = state.order
    return NO_JOB if state.gone else f"{life}-{version}-{'told' if overlays else 'stored'}"


def end_in(stored: Stored | None) -> str:
    """Return the same of a job as it is stored now; of one that goes on, what no watcher saw."""
    if stored is None or stored.deleted:
        return NO_JOB
    return f"{stored.life}-{stored.version}-{'stored' if stored.ended else 'told'}"
