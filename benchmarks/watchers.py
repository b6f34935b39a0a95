"""The process of `crowd.py`, as the benchmark sees it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from tests.kit.started import ROOT

PATIENCE_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """What the watchers say."""

    open: int
    broken: int
    """How many connections the server has closed."""
    sent_ns: list[int]
    """Of each event that came since the last order, how long it took from its sending."""


class Watchers:
    """Any number of them, all of one server; to be used as a context manager."""

    def __enter__(self) -> Watchers:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.crowd"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def open(self, port: int, requests: Sequence[str], ready: str) -> None:
        """Have so many more watch, until each has heard something.

        Raises:
            RuntimeError: some have not.
        """
        before = self._ask(do="hear", events=0, seconds=0).open
        heard = self._ask(
            do="open", port=port, requests=requests, ready=ready, seconds=PATIENCE_SECONDS
        )
        if heard.open - before < len(requests) or heard.broken:
            raise RuntimeError(f"{heard.open} of {len(requests)} are open, {heard.broken} broken")

    def begin_to_hear(self, events: int) -> None:
        """Have them wait for so many events; to be followed by `heard`."""
        self._send(do="hear", events=events, seconds=PATIENCE_SECONDS)

    def heard(self) -> Heard:
        """Return what has come, once all has, or nothing more will."""
        assert self._process.stdout is not None
        return Heard(**json.loads(self._process.stdout.readline()))

    def leave(self) -> None:
        """Have all go at once."""
        self._ask(do="reset")

    def _ask(self, **order: Any) -> Heard:
        self._send(**order)
        return self.heard()

    def _send(self, **order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
