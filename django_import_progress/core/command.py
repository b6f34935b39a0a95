"""A Redis command as data: what to send, how to parse the reply, and what to send next."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Generic, TypeVar

from .lua.scripts import Script

T = TypeVar("T")
Reply = Any


@dataclasses.dataclass(frozen=True, slots=True)
class RedisCommand(Generic[T]):
    """A command for Redis: one round trip."""

    command: tuple[str | int, ...]
    """Name and arguments. For a script: EVALSHA, the digest, and what follows the text in EVAL."""
    parse: Callable[[Reply], T]
    """Returns the result for a reply, or raises a `ProgressError`."""
    script: Script | None = None
    """The script to send with EVAL if Redis does not know the digest."""
    follow: Callable[[Reply], Sequence[RedisCommand[Any]]] | None = None
    """Returns the commands to send after this reply. Only a Cluster needs them: a script cannot
    write keys that are on different servers."""

    @property
    def key(self) -> str:
        """The first key that the script reads or writes."""
        return str(self.command[3])

    @property
    def with_text(self) -> tuple[str | int, ...]:
        """The command as EVAL, with the script's text; Redis then caches the script."""
        assert self.script is not None
        return ("EVAL", self.script.text, *self.command[2:])


Plan = Generator[Sequence[RedisCommand[Any]], list[Any], T]
"""An operation of several steps. It yields commands to send in one pipeline, receives their
results, and returns the result of the operation."""


def evalsha(
    script: Script,
    keys: list[str],
    args: Iterable[str | int],
    parse: Callable[[Reply], T],
    follow: Callable[[Reply], Sequence[RedisCommand[Any]]] | None = None,
) -> RedisCommand[T]:
    """Return the command that runs a script."""
    return RedisCommand(("EVALSHA", script.sha, len(keys), *keys, *args), parse, script, follow)
