"""Show snapshots of an import as text: a live bar in a terminal, plain lines otherwise."""

# ruff: noqa: INP001, T201

from __future__ import annotations

import shutil
import sys
from typing import Any

WIDTH = 20


class Bar:
    """A progress bar on standard output."""

    def __init__(self) -> None:
        self._is_live = sys.stdout.isatty()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._is_live:
            print(flush=True)

    def draw(self, snapshot: dict[str, Any]) -> None:
        """Draw a snapshot, over the last one in a terminal."""
        line = as_line(snapshot)
        if self._is_live:
            # Cut, because only one line can be overwritten. "\x1b[K" clears the rest of it.
            columns = shutil.get_terminal_size().columns
            print(f"\r{line[: columns - 1]}\x1b[K", end="", flush=True)
        else:
            print(line, flush=True)


def as_line(snapshot: dict[str, Any]) -> str:
    """Return a snapshot as one line."""
    total, processed = snapshot.get("total_rows"), snapshot.get("processed_rows") or 0
    parts = [f"{snapshot.get('status')!s:9}"]
    if total:
        done = min(processed / total, 1)
        parts.append(f"[{'#' * int(done * WIDTH):-<{WIDTH}}] {done:6.1%}")
        parts.append(f"{processed:,} of {total:,} rows")
    counters = {"created": "created", "updated": "updated", "rejected_rows": "rejected"}
    parts += [f"{snapshot[name]:,} {text}" for name, text in counters.items() if snapshot.get(name)]
    if snapshot.get("rows_per_second"):
        parts.append(f"{snapshot['rows_per_second']:,.0f} rows/s")
    if snapshot.get("error_message"):
        parts.append(snapshot["error_message"])
    return "  ".join(parts)
