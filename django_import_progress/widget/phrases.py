"""The widget's texts in the active language, for the page and as data for its script."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.utils.formats import get_format
from django.utils.timezone import localtime
from django.utils.translation import gettext, ngettext, pgettext
from django.utils.translation.trans_real import catalog

from ..kinds import EXPORT, IMPORT, KINDS, TASK

WAITING = "waiting"
"""The status that is shown for a job that is not known yet."""

PLURALS: dict[str, Callable[[int], str]] = {
    "rows": lambda n: ngettext("{processed} row", "{processed} rows", n),
    "rows_of": lambda n: ngettext("{processed} of {total} row", "{processed} of {total} rows", n),
    "rows_over": lambda n: ngettext(
        "{processed} row, more than the expected {total}",
        "{processed} rows, more than the expected {total}",
        n,
    ),
    "created": lambda n: ngettext("{count} created", "{count} created", n),
    "updated": lambda n: ngettext("{count} updated", "{count} updated", n),
    "deleted": lambda n: ngettext("{count} deleted", "{count} deleted", n),
    "skipped": lambda n: ngettext("{count} skipped", "{count} skipped", n),
    "refused": lambda n: ngettext("{count} refused", "{count} refused", n),
    "imported": lambda n: ngettext("{count} imported", "{count} imported", n),
    "exported": lambda n: ngettext("{count} exported", "{count} exported", n),
    "completed": lambda n: ngettext("{count} completed", "{count} completed", n),
    "rejected": lambda n: ngettext("{count} rejected", "{count} rejected", n),
    "rate": lambda n: ngettext("{count} row per second", "{count} rows per second", n),
    "seconds": lambda n: ngettext("{count} second left", "{count} seconds left", n),
    "minutes": lambda n: ngettext("{count} minute left", "{count} minutes left", n),
    "hours": lambda n: ngettext("{count} hour left", "{count} hours left", n),
    "hours_and": lambda n: ngettext(
        "{count} hour {minutes} left", "{count} hours {minutes} left", n
    ),
    "and_minutes": lambda n: ngettext("{count} minute", "{count} minutes", n),
    "waited_seconds": lambda n: ngettext(
        "Waiting for {count} second", "Waiting for {count} seconds", n
    ),
    "waited_minutes": lambda n: ngettext(
        "Waiting for {count} minute", "Waiting for {count} minutes", n
    ),
    "waited_hours": lambda n: ngettext("Waiting for {count} hour", "Waiting for {count} hours", n),
    "waited_days": lambda n: ngettext("Waiting for {count} day", "Waiting for {count} days", n),
}
"""Functions that return a pattern in the plural form of a number. ``{minutes}`` is filled with the
text of `and_minutes`, every other placeholder with a number."""

ACCEPTED = {IMPORT: "imported", EXPORT: "exported", TASK: "completed"}
"""The name in `PLURALS` of the rows that were not rejected, by the job's kind."""

COUNTERS = ("created", "updated", "deleted", "skipped", "refused")
"""The counters that are shown, in this order."""

_SAMPLES = (*range(200), 1_000_000)
"""Numbers for which the plural forms are listed. In every language the form of a larger number is
that of its last two digits with a leading 1, or of a million for a multiple of it.

Source: https://www.unicode.org/cldr/charts/latest/supplemental/language_plural_rules.html
"""


def texts() -> dict[str, Any]:
    """Return the texts and number formats for the script, in the active language.

    A plural is the number of its rule, and its forms. A rule is a string of digits: for each of
    `_SAMPLES` the form that `ngettext` chose. So the script needs no rules of its own, which could
    be those of another language: a text that is not translated is in the fallback language.
    """
    rules, plurals = _plurals(catalog(), settings.USE_I18N)
    return {
        "decimal": get_format("DECIMAL_SEPARATOR"),
        "separator": get_format("THOUSAND_SEPARATOR"),
        "groups": _groups(),
        "kinds": {kind: _texts_of_kind(kind) for kind in KINDS},
        "ended": ended(),
        "took": took(),
        "offset": _utc_offset_ms(),
        "missing": gettext("Not available"),
        "percent": gettext("{percent}%"),
        "news": gettext("{label}: {news}"),
        "rules": rules,
        "plurals": plurals,
        "counters": COUNTERS,
    }


@lru_cache
def _plurals(*_: object) -> tuple[list[str], dict[str, Any]]:
    """Return the rules, and the plurals by name.

    Args:
        _: what the translations depend on. The result is cached for it.
    """
    rules: dict[str, int] = {}
    plurals = {}
    for name, pattern in PLURALS.items():
        chosen = [pattern(number) for number in _SAMPLES]
        forms = list(dict.fromkeys(chosen))
        rule = "".join(str(forms.index(text)) for text in chosen)
        plurals[name] = [rules.setdefault(rule, len(rules)), *forms]
    return list(rules), plurals


def _texts_of_kind(kind: str) -> dict[str, Any]:
    return {
        "statuses": statuses(kind),
        "outcomes": outcomes(kind),
        "notices": notices(kind),
        "accepted": ACCEPTED[kind],
    }


def statuses(kind: str = IMPORT) -> dict[str, str]:
    """Return the texts of the known statuses; any other status is shown unchanged."""
    running = {IMPORT: gettext("Importing"), EXPORT: gettext("Exporting"), TASK: gettext("Running")}
    return {
        WAITING: gettext("Waiting"),
        "queued": gettext("Queued"),
        "parsing": gettext("Reading the file"),
        "importing": running[kind],
        "done": gettext("Exported") if kind == EXPORT else gettext("Done"),
        "failed": gettext("Failed"),
        "cancelled": gettext("Cancelled"),
        "gone": gettext("No longer available"),
    }


def outcomes(kind: str = IMPORT) -> dict[str, str]:
    """Return the texts that stand for "Done" where rows were rejected, or none was imported."""
    return {
        IMPORT: {"partial": gettext("Partly imported"), "nothing": gettext("Nothing imported")},
        EXPORT: {"partial": gettext("Partly exported"), "nothing": gettext("Nothing exported")},
        TASK: {"partial": gettext("Partly done"), "nothing": gettext("Nothing done")},
    }[kind]


def question(kind: str) -> str:
    """Return the question before a job is cancelled."""
    return {
        IMPORT: gettext("Cancel this import?"),
        EXPORT: gettext("Cancel this export?"),
        TASK: gettext("Cancel this task?"),
    }[kind]


def keep(kind: str) -> str:
    """Return the answer that leaves the job running."""
    return {
        IMPORT: gettext("No, keep importing"),
        EXPORT: gettext("No, keep exporting"),
        TASK: gettext("No, keep it running"),
    }[kind]


def noun(kind: str) -> str:
    """Return the label of a job that has none."""
    return {
        IMPORT: pgettext("noun", "Import"),
        EXPORT: pgettext("noun", "Export"),
        TASK: pgettext("noun", "Task"),
    }[kind]


def notices(kind: str = IMPORT) -> dict[str, str]:
    """Return the notices: what viewers should know besides the status."""
    refused = {
        IMPORT: gettext("The import could not be cancelled. Reload the page and try again."),
        EXPORT: gettext("The export could not be cancelled. Reload the page and try again."),
        TASK: gettext("The task could not be cancelled. Reload the page and try again."),
    }
    return {
        "expired": gettext("Reload the page to see the current progress"),
        "offline": gettext("Reconnecting…"),
        "refused": refused[kind],
        "stalled": gettext("The worker is not responding"),
        "cancelling": gettext("Cancelling…"),
        "unstarted": gettext("No worker has started it yet"),
    }


def ended() -> str:
    """Return the text that says when a job ended."""
    return gettext("Ended {time}")


def took() -> str:
    """Return the text that also says how long it took, in hours, minutes and seconds."""
    return gettext("Ended {time} · took {duration}")


def _utc_offset_ms() -> int:
    """Return by how many milliseconds the current time zone is ahead of UTC now."""
    offset = localtime(datetime.now(UTC)).utcoffset() or timedelta()
    return offset // timedelta(milliseconds=1)


def _groups() -> str:
    """Return a regular expression that matches where separators go between a number's digits."""
    grouping = get_format("NUMBER_GROUPING")
    sizes = [grouping] if isinstance(grouping, int) else [size for size in grouping if size > 0]
    first, others = sizes[0], sizes[-1]
    return rf"\B(?=(\d{{{others}}})*\d{{{first}}}$)" if first else "$^"
