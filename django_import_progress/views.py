"""The HTTP door: a job's snapshot as JSON, event streams of one job or several, and cancelling."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from functools import wraps
from typing import Any, cast

from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.cache import get_conditional_response
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_GET, require_POST, require_safe

from .access import Grant, Permission, admit, admit_all
from .cancelling import cancel as ask_to_stop
from .clients import read_all
from .connections import get_progress_manager
from .core import sse
from .core.answers import (
    HAS_ENDED,
    NO_SUCH_JOB,
    NOT_CACHED,
    TOO_MANY_OF_YOURS,
    UNAVAILABLE,
)
from .core.ends import (
    NO_JOB,
    absence,
    end_in,
    end_of_all,
    ended_with,
    names_an_end,
    names_the_end_of_all,
)
from .core.errors import ProgressUnavailable
from .core.polls import GONE, SEEN, event_id_of, known_now
from .core.snapshot import Stored, to_json
from .core.view import gone_event, state_of
from .limits import MAX_JOBS
from .manager import ProgressManager
from .opening import HEADERS, limits, one_job, several_jobs, too_many
from .sources import Source
from .streams import POLL_MILLISECONDS, EventStream, retry
from .visitors import Visitor, visitor_of

RETRY_AFTER_SECONDS = 2

View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]
Inner = Callable[..., Awaitable[HttpResponseBase]]


def _door(inner: Inner) -> View:
    """Make a view of `inner`, which is given the request, the manager and the visitor."""

    @wraps(inner)
    async def view(
        request: HttpRequest, progress_namespace: str | None = None, **kwargs: str
    ) -> HttpResponseBase:
        manager = get_progress_manager(progress_namespace)
        # Looked up whatever is asked for: else a refusal would tell by its `Vary` header.
        visitor = await visitor_of(request)
        try:
            return await inner(request, manager, visitor, **kwargs)
        except ProgressUnavailable:
            return _come_back(UNAVAILABLE)

    # A stream must not sit in a transaction (Django refuses async views under ATOMIC_REQUESTS),
    # and `admit` guards instead of a redirect to a login page, which no EventSource can follow.
    return cast(View, login_not_required(transaction.non_atomic_requests(view)))


def _json(value: dict[str, Any], *, status: int = 200) -> HttpResponse:
    response = HttpResponse(to_json(value), content_type="application/json", status=status)
    response["Cache-Control"] = NOT_CACHED
    return response


def _not_found() -> HttpResponse:
    """Return the one answer to a job that is unknown, foreign or expired, and to a bad ticket."""
    return _json({"error": NO_SUCH_JOB}, status=404)


def _come_back(error: str, *, status: int = 503) -> HttpResponse:
    response = _json({"error": error}, status=status)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


async def _stored(manager: ProgressManager, grants: Collection[Grant]) -> dict[str, Stored | None]:
    """Return what is stored of the jobs, by their ids."""
    stored = {grant.job_id: grant.stored for grant in grants}
    missing = [grant.job_id for grant in grants if grant.by_ticket]  # No look was needed yet.
    if missing:
        found = await read_all(manager.redis, [manager.calls.get(job_id) for job_id in missing])
        stored |= zip(missing, found, strict=True)
    return stored


@require_safe
@_door
async def snapshot(
    request: HttpRequest, manager: ProgressManager, visitor: Visitor, job: str
) -> HttpResponseBase:
    """Answer with the representation; 304 where the client's `If-None-Match` has it already."""
    grant = await admit(job, "watch", user=visitor.user, manager=manager)
    stored = None if grant is None else (await _stored(manager, [grant]))[grant.job_id]
    if grant is None or stored is None:
        return _not_found()
    response = _json(state_of(grant.job_id, stored).representation)
    etag = f'"{hashlib.blake2b(response.content, digest_size=16).hexdigest()}"'
    response["ETag"] = etag
    return cast(HttpResponse, get_conditional_response(request, etag=etag, response=response))


@require_GET
@_door
async def stream(
    request: HttpRequest, manager: ProgressManager, visitor: Visitor, job: str
) -> HttpResponseBase:
    """Answer with an event stream of one job.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    grant = await admit(job, "watch", user=visitor.user, manager=manager)
    if grant is None:
        return _not_found()
    job_id, last_event_id = grant.job_id, request.headers.get("Last-Event-ID", "")
    if names_an_end(last_event_id):
        stored = await _stored_if_known(manager, [grant])
        if stored is not None and ended_with(last_event_id, stored[job_id]):
            return _stop()
    if not hasattr(request, "scope"):
        stored_now = (await _stored(manager, [grant]))[job_id]
        if stored_now is None:
            return _single_answer(absence(job_id, last_event_id))
        return _single_answer(state_of(job_id, stored_now).frame)
    return _open_stream(one_job(manager, grant), Permission(visitor, manager, [grant]), visitor)


@require_GET
@_door
async def streams(
    request: HttpRequest, manager: ProgressManager, visitor: Visitor
) -> HttpResponseBase:
    """Answer with an event stream of each ``?job=``, 1 to 100 of them.

    Those that may not be watched are said to be gone at once; if that is all, there is no stream.
    """
    references = list(dict.fromkeys(request.GET.getlist("job")))
    if not 0 < len(references) <= MAX_JOBS:
        return _json({"error": f"Name 1 to {MAX_JOBS} jobs, each as ?job=."}, status=400)
    admitted = await admit_all(references, "watch", user=visitor.user, manager=manager)
    grants = {grant.job_id: grant for grant in admitted if grant is not None}
    refused = [ref for ref, grant in zip(references, admitted, strict=True) if grant is None]
    # A ticket adds to what the rule allows, under whichever name the job was asked for as well.
    refused = [ref for ref in refused if ref not in grants]
    if not grants:
        return _not_found()
    last_event_id = request.headers.get("Last-Event-ID", "")
    if names_the_end_of_all(last_event_id):
        stored = await _stored_if_known(manager, grants.values())
        if stored is not None and last_event_id == _end_now(stored, refused):
            return _stop()
    if not hasattr(request, "scope"):
        found = await _stored(manager, grants.values())
        return _single_answer(_frames(found, refused, last_event_id))
    permission = Permission(visitor, manager, filter(None, admitted))
    return _open_stream(several_jobs(manager, grants, refused), permission, visitor)


def _session_at_hand(view: View) -> View:
    """Load the session, where there is one: the CSRF token may be in it, and is looked for sync."""

    @wraps(view)
    async def loaded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if hasattr(request, "session"):
            await request.session.aget("")
        return await view(request, *args, **kwargs)

    return cast(View, loaded)


@require_POST
@_session_at_hand
@csrf_protect
@_door
async def cancel(
    request: HttpRequest, manager: ProgressManager, visitor: Visitor, job: str
) -> HttpResponseBase:
    """Ask a job to stop: 202 with its representation; 409 where it has ended.

    Protected against cross-site requests whatever the site's middleware is.
    """
    state, is_asked = await ask_to_stop(job, user=visitor.user, manager=manager)
    if state is None:
        return _not_found()
    if not is_asked:
        return _json({"error": HAS_ENDED}, status=409)
    return _json(state.representation, status=202)


async def _stored_if_known(
    manager: ProgressManager, grants: Collection[Grant]
) -> dict[str, Stored | None] | None:
    try:
        return await _stored(manager, grants)
    except ProgressUnavailable:
        return None  # By ticket a stream opens, and waits until Redis is back.


def _end_now(stored: dict[str, Stored | None], refused: Iterable[str]) -> str:
    ends = {job_id: end_in(found) for job_id, found in stored.items()}
    return end_of_all(ends | dict.fromkeys(refused, NO_JOB))


def _frames(stored: dict[str, Stored | None], refused: Iterable[str], last_event_id: str) -> bytes:
    """Return all that is to be told of several jobs to a client that polls them."""
    known = known_now(last_event_id, stored)
    gone = [*refused, *(job_id for job_id in stored if known[job_id] == GONE)]
    found = [state_of(job_id, job) for job_id, job in stored.items() if job is not None]
    events = [*map(gone_event, gone), *(state.event for state in found)]
    if all(known[job_id] in {SEEN, GONE} for job_id in stored) and all(s.ended for s in found):
        events.append(sse.frame(b"", event="end", event_id=_end_now(stored, refused)))
    else:
        events.append(sse.mark(event_id_of(known)))
    return b"".join(events)


def _stop() -> HttpResponse:
    """Return the one answer after which an EventSource does not come back."""
    return HttpResponse(status=204, headers={"Cache-Control": NOT_CACHED})


def _single_answer(frames: bytes) -> HttpResponseBase:
    """Return a whole, short stream: under WSGI an open one would hold a worker.

    An `EventSource` comes back by itself, and so polls.
    """
    return _stream_headers(HttpResponse(retry(POLL_MILLISECONDS) + frames))


def _open_stream(
    open_source: Callable[[], Source], permission: Permission, visitor: Visitor
) -> HttpResponseBase:
    if error := too_many(visitor.client):
        return _come_back(error, status=429 if error == TOO_MANY_OF_YOURS else 503)
    stream = EventStream(open_source, lost=permission.lost, client=visitor.client, **limits())
    return _stream_headers(StreamingHttpResponse(stream))


def _stream_headers(response: HttpResponseBase) -> HttpResponseBase:
    for name, value in HEADERS.items():
        response[name] = value
    return response
