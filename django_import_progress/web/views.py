"""HTTP views: a job's snapshot as JSON, event streams of one or several jobs, cancellation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from functools import wraps
from typing import Any, cast

from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.cache import get_conditional_response
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_GET, require_POST, require_safe

from ..access.permissions import Permission, admit, admit_all
from ..access.sessions import leave_unextended
from ..access.tickets import Grant, by_job
from ..access.visitors import Visitor, visitor_of
from ..core import sse
from ..core.errors import ProgressUnavailable
from ..core.job_state import description_of, gone_state, state_of
from ..core.messages import HAS_ENDED, NO_SUCH_JOB, NOT_CACHED, TOO_MANY_OF_YOURS, UNAVAILABLE
from ..core.snapshot import Stored, to_json
from ..core.sse import GONE, end_id, has_nothing_new, is_end_id, poll_id, poll_state
from ..service.manager import ProgressManager
from ..service.registry import get_guarded_manager
from .cancel import cancel as request_cancel
from .event_stream import HEADERS, POLL_MILLISECONDS, EventStream, open_stream, retry
from .hand_over import hand_over_of
from .limits import MAX_JOBS, too_many
from .push import PushedStream

RETRY_AFTER_SECONDS = 2

View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]


def endpoint(inner: View) -> View:
    """Make a view of `inner`, which gets the request, the manager and the visitor."""

    @wraps(inner)
    async def view(
        request: HttpRequest, progress_namespace: str | None = None, **kwargs: str
    ) -> HttpResponseBase:
        # For every request: otherwise the `Vary` header would reveal the reason for a 404.
        visitor = await visitor_of(request)
        manager = get_guarded_manager(progress_namespace or visitor.tenant)
        if request.method != "POST":
            leave_unextended(request)
        try:
            return await inner(request, manager, visitor, **kwargs)
        except ProgressUnavailable:
            return _retry_later(UNAVAILABLE)

    # A stream must not sit in a transaction (Django refuses async views under ATOMIC_REQUESTS),
    # and `admit` checks access: an EventSource cannot follow a redirect to a login page.
    return cast(View, login_not_required(transaction.non_atomic_requests(view)))


def _json(value: dict[str, Any], *, status: int = 200) -> HttpResponse:
    response = HttpResponse(to_json(value), content_type="application/json", status=status)
    response["Cache-Control"] = NOT_CACHED
    return response


def not_found() -> HttpResponse:
    """Return the response for an unknown, expired or unauthorized job and for an invalid ticket."""
    return _json({"error": NO_SUCH_JOB}, status=404)


def _retry_later(error: str, *, status: int = 503) -> HttpResponse:
    response = _json({"error": error}, status=status)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


async def stored_jobs(
    manager: ProgressManager, grants: Collection[Grant]
) -> dict[str, Stored | None]:
    """Return what is stored of the jobs, or remembered, by their ids."""
    stored = {grant.job_id: grant.stored for grant in grants}
    missing = [grant for grant in grants if grant.by_ticket]  # Not read yet.
    if missing:
        found = await manager.find(grant.job_id for grant in missing)
        for grant, job in zip(missing, found, strict=True):
            stored[grant.job_id] = grant.seen(job)
    return stored


@require_safe
@endpoint
async def snapshot(
    request: HttpRequest, manager: ProgressManager, visitor: Visitor, job: str
) -> HttpResponseBase:
    """Respond with the representation, or 304 if it matches the request's `If-None-Match`."""
    grant = await admit(job, "watch", user=visitor.user, manager=manager)
    stored = None if grant is None else (await stored_jobs(manager, [grant]))[grant.job_id]
    found = None if grant is None else description_of(grant.job_id, stored)
    if found is None:
        return not_found()
    response = _json(found)
    etag = f'"{hashlib.blake2b(response.content, digest_size=16).hexdigest()}"'
    response["ETag"] = etag
    return cast(HttpResponse, get_conditional_response(request, etag=etag, response=response))


@require_GET
@endpoint
async def stream(
    request: HttpRequest, manager: ProgressManager, visitor: Visitor, job: str
) -> HttpResponseBase:
    """Respond with an event stream of one job.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    return await _events(request, manager, visitor, [job])


@require_GET
@endpoint
async def streams(
    request: HttpRequest, manager: ProgressManager, visitor: Visitor
) -> HttpResponseBase:
    """Respond with one event stream of all jobs in ``?job=``, 1 to 100 of them.

    Unauthorized jobs are reported as gone at once. If there are no others, the response is a 404.
    """
    references = list(dict.fromkeys(request.GET.getlist("job")))
    if not 0 < len(references) <= MAX_JOBS:
        return _json({"error": f"Pass 1 to {MAX_JOBS} jobs, each as ?job=."}, status=400)
    return await _events(request, manager, visitor, references)


async def _events(
    request: HttpRequest, manager: ProgressManager, visitor: Visitor, references: list[str]
) -> HttpResponseBase:
    admitted = await admit_all(references, "watch", user=visitor.user, manager=manager)
    grants = by_job(filter(None, admitted))
    refused = [ref for ref, grant in zip(references, admitted, strict=True) if grant is None]
    # The request may contain a job both by a refused reference and by a valid one.
    refused = [ref for ref in refused if ref not in grants]
    if not grants:
        return not_found()
    last_event_id = request.headers.get("Last-Event-ID", "")
    if is_end_id(last_event_id):
        with suppress(ProgressUnavailable):  # A stream by ticket opens, and waits for Redis.
            stored = await stored_jobs(manager, grants.values())
            if has_nothing_new(last_event_id, stored, refused):
                # The only response after which an EventSource does not reconnect.
                return HttpResponse(status=204, headers={"Cache-Control": NOT_CACHED})
    if not hasattr(request, "scope"):
        # A short, complete stream: under WSGI an open one would occupy a worker. An EventSource
        # reconnects by itself, and so polls.
        frames = _frames(await stored_jobs(manager, grants.values()), refused, last_event_id)
        return HttpResponse(retry(POLL_MILLISECONDS) + frames, headers=HEADERS)
    if error := too_many(visitor.client):
        return _retry_later(error, status=429 if error == TOO_MANY_OF_YOURS else 503)
    # A ticket was valid when the stream was opened; only the rule is applied again.
    by_rule = [grant for grant in filter(None, admitted) if not grant.by_ticket]
    lost = Permission(visitor.without_request(), manager, by_rule).lost if by_rule else None
    hand_over = hand_over_of(request)
    stream: Any = open_stream(
        EventStream if hand_over is None else PushedStream,
        manager,
        visitor.client,
        grants.values(),
        refused=refused,
        lost=lost,
    )
    if hand_over is None:
        return StreamingHttpResponse(stream, headers=HEADERS)
    return hand_over.accept(stream)


def _with_loaded_session(view: View) -> View:
    """Load the session, if any: Django's sync CSRF check may read the token from it."""

    @wraps(view)
    async def loaded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if hasattr(request, "session"):
            await request.session.aget("")
        return await view(request, *args, **kwargs)

    return cast(View, loaded)


@require_POST
@_with_loaded_session
@csrf_protect
@endpoint
async def cancel(
    request: HttpRequest, manager: ProgressManager, visitor: Visitor, job: str
) -> HttpResponseBase:
    """Request cancellation: 202 with the representation, or 409 if the job has ended.

    Protected against cross-site requests, whatever middleware the site uses.
    """
    state, is_requested = await request_cancel(job, user=visitor.user, manager=manager)
    if state is None:
        return not_found()
    if not is_requested:
        return _json({"error": HAS_ENDED}, status=409)
    return _json(state.representation, status=202)


def _frames(stored: dict[str, Stored | None], refused: list[str], last_event_id: str) -> bytes:
    """Return the events of several jobs for a client that polls."""
    known = poll_state(last_event_id, stored)
    gone = [*refused, *(job_id for job_id in stored if known[job_id] == GONE)]
    states = [gone_state(reference) for reference in gone]
    for job_id, job in stored.items():
        if job is not None and not job.deleted:
            states.append(state_of(job_id, job))
    # An absent job that may still appear has no state.
    is_over = len(states) == len(refused) + len(stored) and all(state.ended for state in states)
    ends = {state.job_id: state.end for state in states}
    last = sse.end(end_id(ends)) if is_over else sse.id_only(poll_id(known))
    return b"".join([*(state.event for state in states), last])
