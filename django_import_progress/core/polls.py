"""What a client that polls several jobs has been told of each: it comes back in `Last-Event-ID`.

Where each stream is one answer only, nobody watches in between, so whether a job was there before
is for the client to say.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from .snapshot import Stored

NEVER_SEEN = "n"
SEEN = "s"
MISSED = "m"
"""It was there before, and was not once since: Redis may have been emptied, and be written again by
the worker."""
GONE = "g"

_AFTER_AN_ABSENCE = {NEVER_SEEN: NEVER_SEEN, SEEN: MISSED, MISSED: GONE, GONE: GONE}
_NAME = re.compile(r"polled-([0-9a-f]{16})-([nsmg]{1,100})", re.ASCII)


def known_now(event_id: str, stored: Mapping[str, Stored | None]) -> dict[str, str]:
    """Return what the client is to know of each job from now on.

    Args:
        event_id: what it sent as its ``Last-Event-ID``; may be anything.
        stored: the jobs as they are now.
    """
    match = _NAME.fullmatch(event_id)
    is_ours = match is not None and match[1] == _digest(stored) and len(match[2]) == len(stored)
    before = match[2] if match is not None and is_ours else NEVER_SEEN * len(stored)
    return {
        job_id: _known_of(stored[job_id], letter)
        for job_id, letter in zip(sorted(stored), before, strict=True)
    }


def _known_of(stored: Stored | None, before: str) -> str:
    if stored is None:
        return _AFTER_AN_ABSENCE[before]
    return GONE if stored.deleted else SEEN


def event_id_of(known: Mapping[str, str]) -> str:
    """Return the id by which the client says so with its next poll."""
    return f"polled-{_digest(known)}-{''.join(known[job_id] for job_id in sorted(known))}"


def _digest(job_ids: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(sorted(job_ids)).encode(), digest_size=8).hexdigest()
