"""Tenants of the tests' site, each at a host of its own, and two ways to know the current one."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from django.db import connection
from django.http import HttpRequest, HttpResponseBase

HOSTS = {"alpha": "127.0.0.1", "beta": "localhost"}
_TENANTS = {host: tenant for tenant, host in HOSTS.items()}

GetResponse = Callable[[HttpRequest], HttpResponseBase]

current: ContextVar[str] = ContextVar("tenant")
"""Unset where no request or task is of a tenant, so that to ask for it there is an error."""


def by_context() -> str:
    """Return what the current context knows."""
    return current.get()


def by_connection() -> str:
    """Return what django-tenants and others know: the schema of this thread's connection."""
    return getattr(connection, "schema_name", "public")


def context_middleware(get_response: GetResponse) -> GetResponse:
    """Let the context know the tenant of a request, and nothing that comes later."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        token = current.set(_TENANTS[request.get_host().partition(":")[0]])
        try:
            return get_response(request)
        finally:
            current.reset(token)

    return middleware


def connection_middleware(get_response: GetResponse) -> GetResponse:
    """Let the connection know it."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        tenant = _TENANTS[request.get_host().partition(":")[0]]
        connection.schema_name = tenant  # type: ignore[attr-defined]
        return get_response(request)

    return middleware


def with_tenants(application: Any) -> Any:
    """Let the context know the tenant of a WebSocket, which Django's middleware does not see."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            host = dict(scope["headers"])[b"host"].decode()
            current.set(_TENANTS[host.partition(":")[0]])
        await application(scope, receive, send)

    return wrapped
