"""Shows a watched job in a terminal: as a bar, as one line that is rewritten, or line by line."""

from __future__ import annotations

import shutil
from typing import Any, Protocol, TextIO

from ..core.job_state import State
from .terminal_text import amount, cut, description, line, printable_json

try:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
except ImportError:  # pragma: no cover - the extra `cli`
    Console = None  # type: ignore[assignment, misc]

GONE = "Job {} no longer exists."


class Display(Protocol):
    """Shows a job's states. A context manager."""

    max_per_second: float
    """The highest useful rate of updates."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, state: State) -> None:
        """Show the newest state."""


class Lines:
    """One line for each change, for pipes, files and logs."""

    max_per_second = 1.0

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: each line is complete."""

    def show(self, state: State) -> None:
        """See `Display`."""
        self._out.write(self._line(state) + "\n")
        self._out.flush()

    def _line(self, state: State) -> str:
        return GONE.format(state.job_id) if state.gone else line(state.representation)


class JsonLines(Lines):
    """The JSON of each update that viewers receive, one per line."""

    max_per_second = 10.0

    def _line(self, state: State) -> str:
        return printable_json(state.message)


class OneLine(Lines):
    """A single line of a terminal, which is rewritten."""

    max_per_second = 10.0

    def __exit__(self, *_: object) -> None:
        self._out.write("\n")

    def show(self, state: State) -> None:
        """See `Display`."""
        # ECMA-48: CR returns to the start of the line, EL clears the rest of it.
        self._out.write(f"\r{cut(self._line(state), shutil.get_terminal_size().columns)}\x1b[K")
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
    """Return a display for `out`: on a terminal rich's bar if it is installed, else one line.

    Args:
        out: Django's wrapper of a stream.
        as_json: whether to print JSON, for programs.
    """
    stream = getattr(out, "_out", out)
    if as_json:
        return JsonLines(stream)
    if not out.isatty():
        return Lines(stream)
    if Console is None:
        return OneLine(stream)
    return Bar(stream)
