"""The report of rejected rows as a CSV file, to be corrected and imported again."""

from __future__ import annotations

import re

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.http import require_safe

from ..access.permissions import admit
from ..access.visitors import Visitor
from ..core.job_state import description_of
from ..core.messages import NOT_CACHED
from ..service.manager import ProgressManager
from ..tracker.rejects.csv_file import csv_lines
from .views import endpoint, not_found, stored_jobs


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
        "".join(csv_lines(report)),
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="rejected-{name}.csv"',
            "Cache-Control": NOT_CACHED,
            "X-Content-Type-Options": "nosniff",
        },
    )
