"""What a bar shows of a job, as text: the twin of reducer.js, for before the script runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import gettext

from .core.snapshot import is_number, is_terminal
from .texts import COUNTERS, PLURALS, WAITING, notices, statuses

SEPARATOR = " · "
UNITS = (("seconds", 1), ("minutes", 60), ("hours", 3600))
"""How the time left is said, and how many seconds one of them has: up to 60 of each."""


def parts(job: Mapping[str, Any]) -> dict[str, str]:
    """Return the text of each part of a bar.

    Args:
        job: a representation; known fields may be missing, or be of any type.
    """
    status = status_of(job)
    notice = notice_of(job)
    return {
        "status": statuses().get(status, status),
        "stage": _text(job.get("stage")),
        "percent": _percent(job["percent"]),
        "rows": _rows(job),
        "counts": _joined(_counts(job)),
        "pace": "" if notice or is_terminal(job) else _joined(_pace(job)),
        "notice": notices().get(notice, ""),
        "error": _text(job.get("error_message")),
    }


def status_of(job: Mapping[str, Any]) -> str:
    """Return what is shown as the job's status."""
    status = job.get("status")
    return status if isinstance(status, str) and status else WAITING


def notice_of(job: Mapping[str, Any]) -> str:
    """Return the name of the notice that a job calls for; empty for none."""
    if job["stalled"]:
        return "stalled"
    return "cancelling" if job["cancelling"] else ""


def _joined(texts: Iterable[str]) -> str:
    """Join what may be parted at the end of a line."""
    return SEPARATOR.join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in texts)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _percent(percent: float | None) -> str:
    if percent is None:
        return ""
    return gettext("{percent}%").replace("{percent}", number_format(math.floor(percent)))


def _rows(job: Mapping[str, Any]) -> str:
    processed, total = job.get("processed_rows"), job.get("total_rows")
    if not is_number(processed):
        return ""
    if not is_number(total):
        return _say("rows", processed, processed=processed)
    name, agrees_with = ("rows_over", processed) if processed > total else ("rows_of", total)
    return _say(name, agrees_with, processed=processed, total=total)


def _counts(job: Mapping[str, Any]) -> Iterable[str]:
    for name in COUNTERS:
        count = job.get(name)
        if is_number(count) and count > 0:
            yield _say(name, count, count=count)


def _pace(job: Mapping[str, Any]) -> Iterable[str]:
    rate, seconds = job.get("rows_per_second"), job.get("eta_seconds")
    # Halves go up, as in JavaScript.
    if is_number(rate) and (rounded := math.floor(rate * 10 + 0.5) / 10) > 0:
        rounded = rounded if rounded < 10 else math.floor(rate + 0.5)
        yield _say("rate", rounded, count=rounded)
    if is_number(seconds) and seconds > 0:
        unit, length = next((unit for unit in UNITS if seconds <= 60 * unit[1]), UNITS[-1])
        count = math.ceil(seconds / length)
        yield _say(unit, count, count=count)


def _say(name: str, agrees_with: float, **numbers: float) -> str:
    pattern = PLURALS[name](abs(math.ceil(agrees_with)))
    for key, given in numbers.items():
        number = int(given) if given == int(given) else given
        pattern = pattern.replace(f"{{{key}}}", number_format(number, force_grouping=True))
    return pattern
