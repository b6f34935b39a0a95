"""The texts of a bar before the script runs. import-progress.js has the same rules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.utils.formats import number_format
from django.utils.timezone import get_current_timezone
from django.utils.translation import gettext

from ..core.pacing import LONGEST_FORECAST_SECONDS
from ..core.snapshot import SEPARATOR, is_terminal, number_of, text_of
from ..kinds import kind_of, safe_link
from .phrases import ACCEPTED, COUNTERS, PLURALS, WAITING, ended, notices, outcomes, statuses, took

WAIT_STEP_SECONDS = 15
"""Below a minute the waiting time is shown in these steps, because the script updates it no more
often."""
UNSTARTED_SECONDS = 60
"""After this time in the queue the bar says that no worker has started the job."""
WAITS = (("days", 172_800, 86_400), ("hours", 3600, 3600), ("minutes", 60, 60))
"""Units of the waiting time: name, from how many seconds on it is used, seconds per unit."""


def parts(job: Mapping[str, Any], waited_seconds: float | None = None) -> dict[str, str]:
    """Return the text of each part of a bar.

    Args:
        job: a representation; its fields may be missing, or of any type.
        waited_seconds: how long the job has been queued; None if it is not queued, or unknown.
    """
    status = status_of(job)
    notice = notice_of(job, waited_seconds)
    kind = kind_of(job)
    link, url = safe_link(job) if is_terminal(job) else ("", "")
    return {
        "status": outcomes(kind).get(str(job["outcome"])) or statuses(kind).get(status, status),
        "stage": text_of(job.get("stage")),
        "percent": _percent(job["percent"]),
        "rows": _rows(job),
        "counts": _join(_counts(job)),
        "waited": "" if waited_seconds is None else _time_waited(waited_seconds),
        "pace": _ended(job) if is_terminal(job) else "" if notice else _join(_pace(job)),
        "notice": notices(kind).get(notice, ""),
        "error": text_of(job.get("error_message")),
        "link": link,
        "url": url,
    }


def status_of(job: Mapping[str, Any]) -> str:
    """Return the status to show."""
    status = job.get("status")
    return status if isinstance(status, str) and status else WAITING


def notice_of(job: Mapping[str, Any], waited_seconds: float | None = None) -> str:
    """Return the name of the notice to show; empty for none."""
    if job["stalled"]:
        return "stalled"
    if job["cancelling"]:
        return "cancelling"
    is_unstarted = waited_seconds is not None and waited_seconds >= UNSTARTED_SECONDS
    return "unstarted" if is_unstarted else ""


def _join(texts: Iterable[str]) -> str:
    """Join texts so that a line breaks only between them."""
    return SEPARATOR.join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in texts)


def _percent(percent: float | None) -> str:
    if percent is None:
        return ""
    return gettext("{percent}%").replace("{percent}", number_format(math.floor(percent)))


def _rows(job: Mapping[str, Any]) -> str:
    processed, total = number_of(job.get("processed_rows")), number_of(job.get("total_rows"))
    if processed is None:
        return ""
    if total is None:
        return _plural("rows", processed, processed=processed)
    name, agrees_with = ("rows_over", processed) if processed > total else ("rows_of", total)
    return _plural(name, agrees_with, processed=processed, total=total)


def _counts(job: Mapping[str, Any]) -> Iterable[str]:
    rejected = number_of(job.get("rejected_rows")) or 0
    processed = number_of(job.get("processed_rows")) or 0
    if rejected > 0:
        if is_terminal(job) and processed > rejected:
            yield _plural(ACCEPTED[kind_of(job)], processed - rejected, count=processed - rejected)
        yield _plural("rejected", rejected, count=rejected)
    for name in COUNTERS:
        count = number_of(job.get(name))
        if count is not None and count > 0:
            yield _plural(name, count, count=count)


def _pace(job: Mapping[str, Any]) -> Iterable[str]:
    rate, seconds = number_of(job.get("rows_per_second")), number_of(job.get("eta_seconds"))
    # Rounds half up, as JavaScript does.
    if rate is not None and (rounded := math.floor(rate * 10 + 0.5) / 10) > 0:
        rounded = rounded if rounded < 10 else math.floor(rate + 0.5)
        yield _plural("rate", rounded, count=rounded)
    if seconds is not None and 0 < seconds <= LONGEST_FORECAST_SECONDS:
        yield _time_left(seconds)


def _ended(job: Mapping[str, Any]) -> str:
    """Return when the job ended, in the page's time zone, and how long it took if that is known."""
    end = _moment(job.get("ended_at") or job.get("updated_at"))
    if end is None:
        return ""
    start, time = _moment(job.get("started_at")), f"{end:%Y-%m-%d %H:%M}"
    if start is None or end < start:
        return ended().replace("{time}", time)
    return took().replace("{time}", time).replace("{duration}", duration_of(end - start))


def duration_of(time: timedelta) -> str:
    """Return a duration in hours, minutes and seconds."""
    minutes, seconds = divmod(time // timedelta(seconds=1), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def _moment(value: object) -> datetime | None:
    """Return the time that a snapshot has as text, in the current time zone."""
    try:
        return datetime.fromisoformat(str(value)).astimezone(get_current_timezone())
    except (ValueError, OverflowError):
        return None


def _time_left(seconds: float) -> str:
    """Return the time left: up to 60 seconds, up to 60 minutes, then hours and minutes."""
    if seconds <= 60:
        return _counted("seconds", math.ceil(seconds))
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    if seconds <= 3600:
        return _counted("minutes", 60 * hours + minutes)
    if not minutes:
        return _counted("hours", hours)
    return _plural("hours_and", hours, count=hours, minutes=_counted("and_minutes", minutes))


def _time_waited(seconds: float) -> str:
    for unit, least, length in WAITS:
        if seconds >= least:
            return _counted(f"waited_{unit}", int(seconds // length))
    steps = int(seconds // WAIT_STEP_SECONDS) * WAIT_STEP_SECONDS
    return _counted("waited_seconds", steps) if steps > 0 else ""


def _counted(name: str, count: int) -> str:
    return _plural(name, count, count=count)


def _plural(name: str, agrees_with: float, **values: float | str) -> str:
    pattern = PLURALS[name](abs(math.ceil(agrees_with)))
    for key, value in values.items():
        pattern = pattern.replace(f"{{{key}}}", value if isinstance(value, str) else _number(value))
    return pattern


def _number(value: float) -> str:
    number = int(value) if value == int(value) else value
    return number_format(number, force_grouping=True)
