"""One command for Redis as data: what to send, how to read the answer, and what to send next."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Generic, TypeVar

from .lua.scripts import Script

T = TypeVar("T")
Reply = Any


@dataclasses.dataclass(frozen=True, slots=True)
class RedisCommand(Generic[T]):
    """One command for Redis, one round trip."""

    command: tuple[str | int, ...]
    """Name and arguments. Of a script: EVALSHA, and what EVAL would take after the text."""
    parse: Callable[[Reply], T]
    """Makes the result of the reply, or raises a `ProgressError`."""
    script: Script | None = None
    """The text to send (EVAL) where Redis does not know the digest."""
    follow: Callable[[Reply], Sequence[RedisCommand[Any]]] | None = None
    """What is to be sent after this reply. Only a Cluster needs it, where one script cannot write
    keys that may live on different servers."""

    @property
    def key(self) -> str:
        """The key that the script reads or writes, or the first of several."""
        return str(self.command[3])

    @property
    def with_text(self) -> tuple[str | int, ...]:
        """The command as EVAL, which carries the script's text and makes Redis keep it."""
        assert self.script is not None
        return ("EVAL", self.script.text, *self.command[2:])


Plan = Generator[Sequence[RedisCommand[Any]], list[Any], T]
"""A verb of several steps: yields reads to be sent together, is sent their results, and returns
the verb's own result."""


def evalsha(
    script: Script,
    keys: list[str],
    args: Iterable[str | int],
    parse: Callable[[Reply], T],
    follow: Callable[[Reply], Sequence[RedisCommand[Any]]] | None = None,
) -> RedisCommand[T]:
    """Return the call of a script."""
    return RedisCommand(("EVALSHA", script.sha, len(keys), *keys, *args), parse, script, follow)
