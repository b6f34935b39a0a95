"""A job as text for a terminal, without control characters or escape sequences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from ..core.pacing import LONGEST_FORECAST_SECONDS
from ..core.snapshot import SEPARATOR, number_of, text_of
from ..kinds import EXPORT, IMPORT, TASK, kind_of

RUNNING = {IMPORT: "importing", EXPORT: "exporting", TASK: "running"}
"""What a worker does, by the job's kind."""
UNSTARTED_SECONDS = 60
"""After this time in the queue a job counts as not started."""

OUTCOMES = {
    IMPORT: {"partial": "partly imported", "nothing": "nothing imported"},
    EXPORT: {"partial": "partly exported", "nothing": "nothing exported"},
    TASK: {"partial": "partly done", "nothing": "nothing done"},
}
"""The outcomes of done jobs that are shown, by the job's kind."""


def printable(value: object) -> str:
    r"""Return a value as text that is safe to print in a terminal.

    Control characters (and so escape sequences), line ends, bidi overrides and zero-width
    characters become Python escapes, such as ``\x1b``.
    """
    text = value if isinstance(value, str) else str(value)
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )


def printable_json(text: str) -> str:
    r"""Return JSON with the same meaning in printable ASCII, for terminals of any encoding.

    Other characters occur only within strings, where JSON can escape them as ``\u001b``.
    """
    return "".join(
        character if " " <= character <= "~" else json.dumps(character)[1:-1] for character in text
    )


def cut(line: str, width: int) -> str:
    """Shorten a line to the width of the terminal, if each character takes one cell."""
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"


def description(job: Mapping[str, Any]) -> str:
    """Return status, outcome, label, stage and error of a job, and whether it makes no progress."""
    status = job.get("status")
    word = status if isinstance(status, str) and status else "waiting"
    words = [RUNNING[kind_of(job)] if word == "importing" else word]
    words += filter(None, [OUTCOMES[kind_of(job)].get(str(job["outcome"]))])
    words += [word for word in ("stalled", "cancelling") if job[word]]
    if _is_unstarted(job):
        words.append("no worker has started it yet")
    words += filter(None, [text_of(job.get(name)) for name in ("label", "stage", "error_message")])
    return printable(SEPARATOR.join(words))


def _is_unstarted(job: Mapping[str, Any]) -> bool:
    """Return whether a job has waited for its first worker for a minute, by this machine's clock.

    Nothing is written to a job that waits, so that its last write is its creation.
    """
    if job.get("status") != "queued" or job.get("attempt") is not None:
        return False
    with suppress(ValueError, TypeError):
        written = datetime.fromisoformat(str(job.get("updated_at")))
        return (datetime.now(UTC) - written).total_seconds() >= UNSTARTED_SECONDS
    return False


def amount(job: Mapping[str, Any]) -> str:
    """Return percent, rows, rejected rows, rate and time left, as far as they are known."""
    parts = []
    if job["percent"] is not None:
        parts.append(f"{job['percent']:.1f} %")
    processed, total = number_of(job.get("processed_rows")), number_of(job.get("total_rows"))
    if processed is not None:
        of_total = "" if total is None else f" of {total:,}"
        noun = "row" if (total if of_total else processed) == 1 else "rows"
        parts.append(f"{processed:,}{of_total} {noun}")
    if rejected := number_of(job.get("rejected_rows")):
        parts.append(f"{rejected:,} rejected")
    rate, left = number_of(job.get("rows_per_second")), number_of(job.get("eta_seconds"))
    if rate is not None:
        parts.append(f"{rate:,.0f} a second")
    if left is not None and 0 <= left <= LONGEST_FORECAST_SECONDS:
        parts.append(f"{_duration(int(left))} left")
    return ", ".join(parts)


def _duration(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def line(job: Mapping[str, Any]) -> str:
    """Return the description and the amount of a job in one line."""
    return f"{description(job)}  {amount(job)}".rstrip()
