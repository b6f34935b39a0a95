"""Server-sent events: frames, and what a Last-Event-ID means.

An `EventSource` reconnects after each close, and stops only if the response is 204. So an id says
what the client knows: the last state, that the stream has ended, or, for a client that polls (each
stream is one response), whether a job existed before. Source:
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from .snapshot import Stored

MEDIA_TYPE = "text/event-stream"
KEEP_ALIVE = b":\n\n"
"""A comment: keeps proxies from closing an idle stream, and is ignored by clients."""

NO_JOB = "gone"
"""The ending of a job that does not exist, or must not be watched."""

NEVER_SEEN = "n"
SEEN = "s"
MISSED = "m"
"""The job existed before, and was absent once since: Redis may have been emptied, and the worker
may write the job again."""
GONE = "g"

_AFTER_AN_ABSENCE = {NEVER_SEEN: NEVER_SEEN, SEEN: MISSED, MISSED: GONE, GONE: GONE}
_END_ID = re.compile(r"end-[0-9a-f]{32}", re.ASCII)
_POLL_ID = re.compile(r"polled-([0-9a-f]{16})-([nsmg]{1,100})", re.ASCII)


def frame(data: bytes, *, event: str = "", event_id: str = "") -> bytes:
    r"""Return an event.

    Args:
        data: UTF-8 without a line end; JSON never has a raw one, so no value can end the event.
        event: the type of the event; the browser's default is ``message``.
        event_id: what the client sends back as ``Last-Event-ID``; without a line end or NUL.
    """
    head = f"event: {event}\n" if event else ""
    if event_id:
        head += f"id: {event_id}\n"
    return b"%sdata: %s\n\n" % (head.encode(), data)


def id_only(event_id: str) -> bytes:
    """Return an id without an event: the client sends it back, but receives no event."""
    return b"id: %s\n\n" % event_id.encode()


def retry(milliseconds: int) -> bytes:
    """Return the field that sets how long a client waits before it reconnects."""
    return b"retry: %d\n\n" % milliseconds


def end(event_id: str = "") -> bytes:
    """Return the event that follows the last snapshot."""
    return frame(b"", event="end", event_id=event_id)


def is_end_id(event_id: str) -> bool:
    """Tell whether `event_id`, which may be any text, is the id of a stream that has ended."""
    return _END_ID.fullmatch(event_id) is not None


def end_id(endings: Mapping[str, str]) -> str:
    """Return the id with which a stream ends.

    Args:
        endings: by job or ticket as requested, how the job ended: see `ending_of`.
    """
    return f"end-{_digest((f'{job} {ending}' for job, ending in endings.items()), 16)}"


def ending_of(life: int, version: int, *, is_stored: bool) -> str:
    """Return how a job ended: with this stored version, or by a message merged over it."""
    return f"{life}-{version}-{'stored' if is_stored else 'published'}"


def end_id_now(stored: Mapping[str, Stored | None], refused: Iterable[str] = ()) -> str:
    """Return the id with which a stream of these jobs would end now.

    For a job that has not ended in Redis it is the id of a stream that a partial message ended.
    """
    endings = {
        job_id: NO_JOB
        if job is None or job.deleted
        else ending_of(job.life, job.version, is_stored=job.ended)
        for job_id, job in stored.items()
    }
    return end_id(endings | dict.fromkeys(refused, NO_JOB))


def has_nothing_new(
    event_id: str, stored: Mapping[str, Stored | None], refused: Iterable[str] = ()
) -> bool:
    """Tell whether a stream ended with `event_id`, and nothing has changed since.

    Args:
        event_id: the client's ``Last-Event-ID``; may be any text.
        stored: the jobs as they are now.
        refused: what else was requested, and must not be watched.
    """
    if not is_end_id(event_id):
        return False
    return event_id == end_id_now(stored, refused) or not any(stored.values())


def poll_state(event_id: str, stored: Mapping[str, Stored | None]) -> dict[str, str]:
    """Return for each job what a client that polls has seen of it, this response included.

    Args:
        event_id: the client's ``Last-Event-ID``; may be any text.
        stored: the jobs as they are now.
    """
    match = _POLL_ID.fullmatch(event_id)
    is_ours = match is not None and match[1] == _digest(stored, 8) and len(match[2]) == len(stored)
    before = match[2] if match is not None and is_ours else NEVER_SEEN * len(stored)
    return {
        job_id: _seen_of(stored[job_id], letter)
        for job_id, letter in zip(sorted(stored), before, strict=True)
    }


def _seen_of(stored: Stored | None, before: str) -> str:
    if stored is None:
        return _AFTER_AN_ABSENCE[before]
    return GONE if stored.deleted else SEEN


def poll_id(seen: Mapping[str, str]) -> str:
    """Return the id that carries the result of `poll_state` to the client's next poll."""
    return f"polled-{_digest(seen, 8)}-{''.join(seen[job_id] for job_id in sorted(seen))}"


def _digest(lines: Iterable[str], size: int) -> str:
    return hashlib.blake2b("\n".join(sorted(lines)).encode(), digest_size=size).hexdigest()
