"""The report of rejected rows as a CSV file, to be corrected and imported again."""

from __future__ import annotations

import re
from typing import IO

from asgiref.sync import sync_to_async
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.views.decorators.http import require_safe

from ..access.permissions import admit
from ..access.visitors import Visitor
from ..core.messages import NOT_CACHED
from ..service.manager import ProgressManager
from ..tracker.rejects.csv_file import csv_lines
from .views import endpoint, not_found, stored_jobs

CHUNK_BYTES = 64 * 1024
"""How much of a stored report is read at a time."""


@require_safe
@endpoint
async def rejects(
    request: HttpRequest, manager: ProgressManager, visitor: Visitor, job: str
) -> HttpResponseBase:
    """Respond with the rejected rows of a job as CSV, an attachment; 404 if there are none.

    Once Redis has forgotten them they come from the history, if it is installed.

    Source: https://www.rfc-editor.org/rfc/rfc4180
    """
    grant = await admit(job, "watch", user=visitor.user, manager=manager)
    if grant is None:
        return not_found()
    stored = (await stored_jobs(manager, [grant]))[grant.job_id]
    report = await manager.report(grant.job_id)
    if stored is None or stored.deleted:
        return not_found()
    if report.rejects:
        return _as_csv(HttpResponse("".join(csv_lines(report))), grant.job_id)
    file = await manager.past_report(grant.job_id, stored)
    if file is None:
        return not_found()
    return file_response(request, file, grant.job_id)


def file_response(request: HttpRequest, file: IO[bytes], job_id: str) -> HttpResponseBase:
    """Return the response with a stored report of rejected rows; it closes the file."""
    # Under ASGI Django would read the whole file before it sends the first byte.
    is_async = hasattr(request, "scope")
    return _as_csv(StreamingHttpResponse(_Chunks(file)) if is_async else FileResponse(file), job_id)


def _as_csv(response: HttpResponseBase, job_id: str) -> HttpResponseBase:
    name = re.sub(r"[^A-Za-z0-9._-]", "_", job_id)  # Windows allows no ":" in a name.
    response["Content-Type"] = "text/csv; charset=utf-8"
    response["Content-Disposition"] = f'attachment; filename="rejected-{name}.csv"'
    response["Cache-Control"] = NOT_CACHED
    response["X-Content-Type-Options"] = "nosniff"
    return response


class _Chunks:
    """The content of a file for an asynchronous response, read in a thread.

    No generator: if the client disconnects, only `close` is sure to be called.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        if chunk := await sync_to_async(self._file.read)(CHUNK_BYTES):
            return chunk
        raise StopAsyncIteration

    def close(self) -> None:
        self._file.close()
