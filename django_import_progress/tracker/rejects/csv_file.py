"""A report of rejected rows as lines of CSV, to be corrected and imported again."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from typing import Any

from django.utils.translation import ngettext

from ...core.rejects import Report

BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel takes UTF-8 for another encoding."""
OWN_COLUMNS = ("row", "line", "reason")

# What spreadsheets execute. Source:
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = re.compile(r"[=+\-@\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)*|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)


def csv_lines(report: Report) -> Iterator[str]:
    """Yield a report as CSV, line by line: number, line, reason, then the row's own columns.

    Source: https://www.rfc-editor.org/rfc/rfc4180
    """
    columns = list(dict.fromkeys(name for reject in report.rejects for name in reject.data))
    yield BYTE_ORDER_MARK + _line([*OWN_COLUMNS, *columns])
    for reject in report.rejects:
        values = [reject.data.get(name) for name in columns]
        yield _line([reject.row, reject.line, reject.reason, *values])
    if report.missing:
        text = ngettext(
            "%(count)d more rejected row is not in this report.",
            "%(count)d more rejected rows are not in this report.",
            report.missing,
        ) % {"count": report.missing}
        yield _line(["", "", text])


class _Echo:
    """A file that returns what is written to it."""

    @staticmethod
    def write(text: str) -> str:
        return text


_writer: Any = csv.writer(_Echo())
"""Its `writerow` returns the line."""


def _line(values: Iterable[Any]) -> str:
    return str(_writer.writerow([_cell(value) for value in values]))


def _cell(value: Any) -> str:
    """Return a value as text that no spreadsheet executes."""
    text = "" if value is None else str(value)
    is_formula = _FORMULA.match(text) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text
