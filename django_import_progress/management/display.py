"""How a job that is watched in a terminal looks: a bar, a line that changes, or many lines."""

from __future__ import annotations

import shutil
from typing import Any, Protocol, TextIO

from ..core.job_state import State
from ..core.terminal_text import amount, cut, description, line, printable_json

try:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
except ImportError:  # pragma: no cover - the extra `cli`
    Console = None  # type: ignore[assignment, misc]

GONE = "Job {} no longer exists."


class Display(Protocol):
    """Shows states; to be used as a context manager."""

    max_per_second: float
    """How often something new is worth being shown."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, state: State) -> None:
        """Show the newest state."""


class Lines:
    """A line for each change: for pipes, files and logs."""

    max_per_second = 1.0

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave all as it is."""

    def show(self, state: State) -> None:
        """See `Display`."""
        self._out.write(self._line(state) + "\n")
        self._out.flush()

    def _line(self, state: State) -> str:
        return GONE.format(state.job_id) if state.gone else line(state.representation)


class JsonLines(Lines):
    """What viewers get, a line each."""

    max_per_second = 10.0

    def _line(self, state: State) -> str:
        return printable_json(state.message)


class OneLine:
    """A line of a terminal, written over and over."""

    max_per_second = 10.0

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __enter__(self) -> OneLine:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.write("\n")

    def show(self, state: State) -> None:
        """See `Display`."""
        text = GONE.format(state.job_id) if state.gone else line(state.representation)
        # ECMA-48: CR goes back to the line's beginning, EL clears what was there.
        self._out.write(f"\r{cut(text, shutil.get_terminal_size().columns)}\x1b[K")
        self._out.flush()


class Bar:
    """A bar, drawn by rich."""

    max_per_second = 10.0

    def __init__(self, out: TextIO) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[amount]}", markup=False),
            console=Console(file=out),
        )
        self._task = self._progress.add_task("waiting", total=None, amount="")

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, state: State) -> None:
        """See `Display`."""
        if state.gone:
            self._progress.update(self._task, description=GONE.format(state.job_id), amount="")
            return
        job = state.representation
        self._progress.update(
            self._task,
            description=description(job),
            amount=amount(job),
            total=None if job["percent"] is None else 100,
            completed=job["percent"] or 0,
        )


def display_on(out: Any, *, as_json: bool) -> Display:
    """Return what fits `out`: rich's bar on a terminal where it is installed, else a plain line.

    Args:
        out: Django's wrapper of a stream.
        as_json: whether a program is to read it.
    """
    stream = getattr(out, "_out", out)
    if as_json:
        return JsonLines(stream)
    if not out.isatty():
        return Lines(stream)
    if Console is None:
        return OneLine(stream)
    return Bar(stream)
