"""What a WebSocket client may say."""

from __future__ import annotations

import dataclasses
from typing import Literal, cast, get_args

from ..core.snapshot import loads

Verb = Literal["watch", "unwatch", "cancel"]

MAX_MESSAGE_BYTES = 64 * 1024
"""A larger message is no command, whatever it says."""


class BadCommand(ValueError):
    """A message that is no command; its text tells the client what one is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """What a client wants."""

    verb: Verb
    job: str
    """A job's id, or a ticket; it may be anything."""


def parse_command(text: str) -> Command:
    """Read a message.

    Raises:
        BadCommand: it is none.
    """
    try:
        message = loads(text)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise BadCommand('Send JSON: {"action": "watch", "job": "<id or ticket>"}.')
    verb, job = message.get("action"), message.get("job")
    if verb not in get_args(Verb):
        raise BadCommand(f"The action is one of {', '.join(get_args(Verb))}.")
    if not isinstance(job, str):
        raise BadCommand("Name the job: its id, or a ticket.")
    return Command(cast(Verb, verb), job)
