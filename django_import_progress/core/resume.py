"""What a client that reconnects says by its `Last-Event-ID`: what it knows, or that all has ended.

An `EventSource` reconnects after every close, and stops only when the response is 204. A client
that polls (each stream is one response) watches nothing in between, so it is the client that says
whether a job existed before. Source:
https://html.spec.whatwg.org/multipage/server-sent-events.html#sse-processing-model
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from .snapshot import Stored

NO_JOB = "gone"
"""The end of a job that does not exist, or must not be watched."""

NEVER_SEEN = "n"
SEEN = "s"
MISSED = "m"
"""It existed before, and was missed once since: Redis may have been emptied, and be written again
by the worker."""
GONE = "g"

_AFTER_AN_ABSENCE = {NEVER_SEEN: NEVER_SEEN, SEEN: MISSED, MISSED: GONE, GONE: GONE}
_END = re.compile(r"end-[0-9a-f]{32}", re.ASCII)
_POLLED = re.compile(r"polled-([0-9a-f]{16})-([nsmg]{1,100})", re.ASCII)


def is_end_id(event_id: str) -> bool:
    """Tell whether `event_id`, which may be anything, is one with which a stream ended."""
    return _END.fullmatch(event_id) is not None


def end_id(ends: Mapping[str, str]) -> str:
    """Return the id with which a stream ends.

    Args:
        ends: by job, or by what was asked for in its place, how it ended: see `ending_of`.
    """
    return f"end-{_digest((f'{job} {end}' for job, end in ends.items()), 16)}"


def ending_of(life: int, version: int, *, is_stored: bool) -> str:
    """Return how a job ended: with this version, or by a message that was laid over it."""
    return f"{life}-{version}-{'stored' if is_stored else 'published'}"


def end_id_now(stored: Mapping[str, Stored | None], refused: Iterable[str] = ()) -> str:
    """Return the id with which a stream of these jobs would end now.

    Of a job that goes on it is one with which it may have ended for those who watched.
    """
    ends = {
        job_id: NO_JOB
        if job is None or job.deleted
        else ending_of(job.life, job.version, is_stored=job.ended)
        for job_id, job in stored.items()
    }
    return end_id(ends | dict.fromkeys(refused, NO_JOB))


def has_nothing_new(
    event_id: str, stored: Mapping[str, Stored | None], refused: Iterable[str] = ()
) -> bool:
    """Tell whether a stream ended with `event_id`, and nothing has happened since.

    Args:
        event_id: what a client sent as its ``Last-Event-ID``; may be anything.
        stored: the jobs as they are now.
        refused: what else was asked for, and must not be watched.
    """
    if not is_end_id(event_id):
        return False
    return event_id == end_id_now(stored, refused) or not any(stored.values())


def poll_state(event_id: str, stored: Mapping[str, Stored | None]) -> dict[str, str]:
    """Return what a client that polls is to know of each job from now on.

    Args:
        event_id: what it sent as its ``Last-Event-ID``; may be anything.
        stored: the jobs as they are now.
    """
    match = _POLLED.fullmatch(event_id)
    is_ours = match is not None and match[1] == _digest(stored, 8) and len(match[2]) == len(stored)
    before = match[2] if match is not None and is_ours else NEVER_SEEN * len(stored)
    return {
        job_id: _known_of(stored[job_id], letter)
        for job_id, letter in zip(sorted(stored), before, strict=True)
    }


def _known_of(stored: Stored | None, before: str) -> str:
    if stored is None:
        return _AFTER_AN_ABSENCE[before]
    return GONE if stored.deleted else SEEN


def poll_id(known: Mapping[str, str]) -> str:
    """Return the id by which the client says so with its next poll."""
    return f"polled-{_digest(known, 8)}-{''.join(known[job_id] for job_id in sorted(known))}"


def _digest(lines: Iterable[str], size: int) -> str:
    return hashlib.blake2b("\n".join(sorted(lines)).encode(), digest_size=size).hexdigest()
