"""The HTTP door: a job's snapshot as JSON, and as an event stream."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial, wraps
from typing import Any, cast

from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_GET, require_safe

from .access import Grant, Nobody, User, admit
from .clients import perform
from .conf import settings
from .connections import get_progress_manager
from .core import sse
from .core.errors import ProgressUnavailable
from .core.snapshot import Stored, to_json
from .core.view import ended_with, names_an_end, state_of
from .manager import ProgressManager
from .streams import POLL_MILLISECONDS, EventStream, retry

RETRY_AFTER_SECONDS = 2

View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]
Inner = Callable[[HttpRequest, ProgressManager, Grant], Awaitable[HttpResponseBase]]


def _door(inner: Inner) -> View:
    """Make a view of `inner`: nothing is served before `admit` has said yes."""

    @wraps(inner)
    async def view(
        request: HttpRequest, job: str, progress_namespace: str | None = None
    ) -> HttpResponseBase:
        manager = get_progress_manager(progress_namespace)
        # Looked up whatever `job` is: else a refusal would tell by its `Vary` header.
        user = await _user(request)
        try:
            grant = await admit(job, "watch", user=user, manager=manager)
            response = _not_found() if grant is None else await inner(request, manager, grant)
        except ProgressUnavailable:
            response = _json({"error": "Progress is unavailable right now."}, status=503)
            response["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response

    # A stream must not sit in a transaction (Django refuses async views under ATOMIC_REQUESTS),
    # and `admit` guards instead of a redirect to a login page, which no EventSource can follow.
    return cast(View, login_not_required(transaction.non_atomic_requests(view)))


async def _user(request: HttpRequest) -> User:
    # AuthenticationMiddleware sets it; a site without logins has none.
    return cast(User, await request.auser()) if hasattr(request, "auser") else Nobody()


def _json(value: dict[str, Any], *, status: int = 200) -> HttpResponse:
    response = HttpResponse(to_json(value), content_type="application/json", status=status)
    response["Cache-Control"] = "no-store"
    return response


def _not_found() -> HttpResponse:
    """Return the one answer to a job that is unknown, foreign or expired, and to a bad ticket."""
    return _json({"error": "There is no such job."}, status=404)


async def _stored(manager: ProgressManager, grant: Grant) -> Stored | None:
    if not grant.by_ticket:
        return grant.stored
    return await perform(manager.redis, manager.calls.get(grant.job_id))


@require_safe
@_door
async def snapshot(
    request: HttpRequest, manager: ProgressManager, grant: Grant
) -> HttpResponseBase:
    """Answer with the representation; 304 where the client's `If-None-Match` has it already."""
    stored = await _stored(manager, grant)
    if stored is None:
        return _not_found()
    response = _json(state_of(grant.job_id, stored).representation)
    etag = f'"{hashlib.blake2b(response.content, digest_size=16).hexdigest()}"'
    response["ETag"] = etag
    return cast(HttpResponse, get_conditional_response(request, etag=etag, response=response))


@require_GET
@_door
async def stream(request: HttpRequest, manager: ProgressManager, grant: Grant) -> HttpResponseBase:
    """Answer with an event stream.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    if await _has_ended(request.headers.get("Last-Event-ID", ""), manager, grant):
        # The one answer after which an EventSource does not come back.
        return HttpResponse(status=204, headers={"Cache-Control": "no-store"})
    if not hasattr(request, "scope"):
        return _stream_headers(HttpResponse(await _single_answer(manager, grant)))
    return _stream_headers(
        StreamingHttpResponse(
            EventStream(
                partial(manager.watcher, grant.job_id),
                heartbeat_seconds=settings.heartbeat_seconds,
                stream_seconds=settings.stream_seconds,
            )
        )
    )


async def _has_ended(last_event_id: str, manager: ProgressManager, grant: Grant) -> bool:
    if not names_an_end(last_event_id):
        return False
    try:
        return ended_with(last_event_id, await _stored(manager, grant))
    except ProgressUnavailable:
        return False  # By ticket a stream opens, and waits until Redis is back.


async def _single_answer(manager: ProgressManager, grant: Grant) -> bytes:
    """Return a whole, short stream: under WSGI an open one would hold a worker.

    An `EventSource` comes back by itself, and so polls.
    """
    stored = await _stored(manager, grant)
    frame = sse.KEEP_ALIVE if stored is None else state_of(grant.job_id, stored).frame
    return retry(POLL_MILLISECONDS) + frame


def _stream_headers(response: HttpResponseBase) -> HttpResponseBase:
    response["Content-Type"] = sse.MEDIA_TYPE
    response["Cache-Control"] = "no-store, no-transform"
    response["Content-Encoding"] = "identity"  # GZipMiddleware would hold events back.
    response["X-Accel-Buffering"] = "no"  # nginx would, too.
    return response
