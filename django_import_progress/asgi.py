"""The fast lane: event streams by ticket, answered before Django is asked.

A ticket needs no session and no database, and so none of what Django does for a request. What
cannot be answered just as the view would is Django's to answer.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.urls import Resolver404, ResolverMatch, URLResolver, get_resolver

from .access.permissions import admit_all
from .access.tickets import TICKET_MARK, by_job
from .access.visitors import visitor_of
from .core.sse import is_end_id
from .service.registry import get_guarded_manager
from .web import views
from .web.limits import MAX_JOBS
from .web.push import PushedStream, Receive, Send
from .web.stream_opening import open_stream, too_many

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_STREAM = "/stream/"
"""What the path of each stream ends with."""
NOT_OURS = (Resolver404, SuspiciousOperation, UnicodeDecodeError, ImproperlyConfigured)
"""What looking at a request may raise: Django says it to who asks, as it always does."""


class ProgressStreams:
    """An ASGI application in front of Django's: ``ProgressStreams(get_asgi_application())``.

    It answers `GET` requests for event streams whose every job is named by a good ticket, at the
    addresses under which the project's `ROOT_URLCONF` includes the app. All else it passes on.
    The project's middleware does not run for what it answers.

    Args:
        application: Django's, or what is around it.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        stream = await _opened(scope) if _may_be_ours(scope) else None
        if stream is None:
            await self._application(scope, receive, send)
        else:
            await stream.run(receive, send)


def _may_be_ours(scope: Scope) -> bool:
    """Tell at a glance, since this is asked about each request of the site."""
    is_get = scope["type"] == "http" and scope["method"] == "GET"
    return is_get and bool(scope["path"].endswith(_STREAM))


async def _opened(scope: Scope) -> PushedStream | None:
    """Open the stream that is asked for, if there is nothing about it that needs Django."""
    try:
        request = ASGIRequest(scope, io.BytesIO())
        namespace, references = _asked_for(request)
        if not references or _needs_middleware(request):
            return None
        manager = get_guarded_manager(namespace)
        visitor = await visitor_of(request)
        admitted = await admit_all(references, "watch", user=visitor.user, manager=manager)
        # Who is logged in is counted by another name there.
        if None in admitted or too_many(visitor.client):
            return None
    except NOT_OURS:
        return None
    # Nobody is asked again: a ticket was good when the stream was opened.
    grants = by_job(filter(None, admitted)).values()
    return open_stream(PushedStream, manager, visitor.client, grants)


def _asked_for(request: ASGIRequest) -> tuple[str | None, list[str]]:
    """Return the namespace and the tickets; none where it is not by tickets.

    Raises:
        Resolver404: there is no such address.
    """
    start, _, job = request.path_info.removesuffix(_STREAM).rpartition("/")
    is_ticket = job.startswith(TICKET_MARK)
    path = f"{start}/{TICKET_MARK}{_STREAM}" if is_ticket else request.path_info
    match = _resolve(get_resolver(django_settings.ROOT_URLCONF), path)
    references = [job] if match.func is views.stream else []
    if match.func is views.streams:
        references = list(dict.fromkeys(request.GET.getlist("job")))
    if len(references) > MAX_JOBS or not all(ref.startswith(TICKET_MARK) for ref in references):
        references = []
    return match.kwargs.get("progress_namespace"), references


@functools.lru_cache(maxsize=64)
def _resolve(resolver: URLResolver, path: str) -> ResolverMatch:
    """Find a view: the same one for all tickets, and so not looked for each time."""
    return resolver.resolve(path)


def _needs_middleware(request: ASGIRequest) -> bool:
    """Tell whether another answer is due than a stream: middleware's, or that there is no more.

    Raises:
        DisallowedHost: as it is to who asks Django.
    """
    request.get_host()
    last_event_id = request.META.get("HTTP_LAST_EVENT_ID", "")
    return (
        # Only a page of another site sends it with a GET, which has to be allowed to read on.
        "HTTP_ORIGIN" in request.META
        or (django_settings.SECURE_SSL_REDIRECT and not request.is_secure())
        or is_end_id(last_event_id)
    )
