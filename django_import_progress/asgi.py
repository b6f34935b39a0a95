"""The fast lane: an ASGI application that sends event streams, in front of Django.

A ticket needs no session and no database, so these requests can do without Django's handler and
middleware. Any request that the fast lane cannot serve exactly as the view would goes to Django,
whose view hands its stream over.
"""

from __future__ import annotations

import functools
import io

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.urls import Resolver404, ResolverMatch, URLResolver, get_resolver

from .access.permissions import admit_all
from .access.tickets import TICKET_PREFIX, by_job
from .access.visitors import visitor_of
from .conf import settings
from .core.sse import is_end_id
from .service.registry import get_guarded_manager
from .web import views
from .web.event_stream import open_stream
from .web.hand_over import Application, HandOver, Scope
from .web.limits import MAX_JOBS, too_many
from .web.push import PushedStream, Receive, Send

_STREAM = "/stream/"
"""Suffix of every stream's path."""
LEFT_TO_DJANGO = (Resolver404, SuspiciousOperation, UnicodeDecodeError, ImproperlyConfigured)
"""Exceptions while a request is examined. Django then handles the request and reports the error."""


class ProgressStreams:
    """ASGI application to wrap around Django's: ``ProgressStreams(get_asgi_application())``.

    It sends all event streams. If valid tickets name all jobs of a stream, it answers by itself, at
    the URLs where the project's `ROOT_URLCONF` includes the app, and the project's middleware does
    not run. Otherwise Django answers, and its view hands the stream over, so that nothing of the
    request is kept while the stream is open. It passes all other requests on.

    Args:
        application: Django's ASGI application, or one that wraps it.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if not _may_be_stream(scope):
            await self._application(scope, receive, send)
        elif stream := await _open(scope):
            await stream.run(receive, send)
        elif handed_over := await HandOver().ask(self._application, scope, receive, send):
            stream, headers = handed_over
            await stream.run(receive, send, headers)


def _may_be_stream(scope: Scope) -> bool:
    """Return quickly whether to look closer: this runs for every request of the site."""
    is_get = scope["type"] == "http" and scope["method"] == "GET"
    return is_get and bool(scope["path"].endswith(_STREAM))


async def _open(scope: Scope) -> PushedStream | None:
    """Open the requested stream; None if Django has to handle the request."""
    if settings.has_tenants:  # It takes the project's middleware to know the tenant.
        return None
    try:
        request = ASGIRequest(scope, io.BytesIO())
        namespace, references = _tickets_in(request)
        if not references or _needs_middleware(request):
            return None
        manager = get_guarded_manager(namespace)
        visitor = await visitor_of(request)
        admitted = await admit_all(references, "watch", user=visitor.user, manager=manager)
        # Django counts the streams of a logged-in user by user, not by address.
        if None in admitted or too_many(visitor.client):
            return None
    except LEFT_TO_DJANGO:
        return None
    # Nothing is checked again later: it suffices that the tickets were valid at the start.
    grants = by_job(filter(None, admitted)).values()
    return open_stream(PushedStream, manager, visitor.client, grants)


def _tickets_in(request: ASGIRequest) -> tuple[str | None, list[str]]:
    """Return the namespace and the tickets; no tickets if there are other references.

    Raises:
        Resolver404: the URL does not exist.
    """
    start, _, job = request.path_info.removesuffix(_STREAM).rpartition("/")
    is_ticket = job.startswith(TICKET_PREFIX)
    path = f"{start}/{TICKET_PREFIX}{_STREAM}" if is_ticket else request.path_info
    match = _resolve(get_resolver(django_settings.ROOT_URLCONF), path)
    references = [job] if match.func is views.stream else []
    if match.func is views.streams:
        references = list(dict.fromkeys(request.GET.getlist("job")))
    if len(references) > MAX_JOBS or not all(ref.startswith(TICKET_PREFIX) for ref in references):
        references = []
    return match.kwargs.get("progress_namespace"), references


@functools.lru_cache(maxsize=64)
def _resolve(resolver: URLResolver, path: str) -> ResolverMatch:
    """Resolve a path; cached, since `path` is the same for all tickets."""
    return resolver.resolve(path)


def _needs_middleware(request: ASGIRequest) -> bool:
    """Return whether the response depends on middleware, or the stream may have ended already.

    Raises:
        DisallowedHost: as Django does.
    """
    request.get_host()
    last_event_id = request.META.get("HTTP_LAST_EVENT_ID", "")
    return (
        # Only a page of another site sends it with a GET; CORS middleware may allow that.
        "HTTP_ORIGIN" in request.META
        or (django_settings.SECURE_SSL_REDIRECT and not request.is_secure())
        or is_end_id(last_event_id)
    )
