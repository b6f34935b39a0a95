"""The report of rejected rows as a CSV file, to be corrected and imported again."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from ..access.permissions import admit
from ..access.visitors import Visitor
from ..core.job_state import description_of
from ..core.messages import NOT_CACHED
from ..core.rejects import Report
from ..service.manager import ProgressManager
from .views import endpoint, not_found, stored_jobs

BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel takes UTF-8 for another encoding."""
OWN_COLUMNS = ("row", "line", "reason")

# What spreadsheets execute. Source:
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = re.compile(r"[=+\-@\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)*|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)


@require_safe
@endpoint
async def rejects(
    request: HttpRequest, manager: ProgressManager, visitor: Visitor, job: str
) -> HttpResponseBase:
    """Respond with the rejected rows of a job as CSV, an attachment; 404 if there are none.

    Source: https://www.rfc-editor.org/rfc/rfc4180
    """
    grant = await admit(job, "watch", user=visitor.user, manager=manager)
    if grant is None:
        return not_found()
    stored = (await stored_jobs(manager, [grant]))[grant.job_id]
    report = await manager.report(grant.job_id)
    if description_of(grant.job_id, stored) is None or not report.rejects:
        return not_found()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", grant.job_id)  # Windows allows no ":" in a name.
    return HttpResponse(
        csv_of(report),
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="rejected-{name}.csv"',
            "Cache-Control": NOT_CACHED,
            "X-Content-Type-Options": "nosniff",
        },
    )


def csv_of(report: Report) -> str:
    """Return a report as CSV: number, line, reason, then the row's own columns."""
    columns = list(dict.fromkeys(name for reject in report.rejects for name in reject.data))
    file = io.StringIO()
    file.write(BYTE_ORDER_MARK)
    writer = csv.writer(file)
    writer.writerow(_cells([*OWN_COLUMNS, *columns]))
    for reject in report.rejects:
        values = [reject.data.get(name) for name in columns]
        writer.writerow(_cells([reject.row, reject.line, reject.reason, *values]))
    if report.missing:
        text = ngettext(
            "%(count)d more rejected row is not in this report.",
            "%(count)d more rejected rows are not in this report.",
            report.missing,
        ) % {"count": report.missing}
        writer.writerow(["", "", text])
    return file.getvalue()


def _cells(values: Iterable[Any]) -> list[str]:
    return [_cell(value) for value in values]


def _cell(value: Any) -> str:
    """Return a value as text that no spreadsheet executes."""
    text = "" if value is None else str(value)
    is_formula = _FORMULA.match(text) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text
