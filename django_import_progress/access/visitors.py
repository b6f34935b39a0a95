"""The client of a request or WebSocket: its user, at the start and now, and its address."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from copy import copy
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any, Protocol, cast

from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY, aget_user
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.utils.functional import LazyObject

from ..conf import settings

IPV6_HOST_BITS = 64
"""A customer has at least a network of this many bits (RFC 6177), with all its addresses."""


class User(Protocol):
    """The attributes that every user has."""

    pk: Any
    is_authenticated: Any


class Nobody:
    """The user on a site without `AuthenticationMiddleware`."""

    pk = None
    is_authenticated = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """The client of a request or WebSocket."""

    user: User
    """The user when the request arrived; may be anonymous."""
    session: SessionBase | None = None
    address: str = ""
    """Address of the client according to the server; empty if unknown."""
    tenant: str = ""
    """The namespace of the request's tenant; empty if `NAMESPACE` is the same for all requests."""

    @property
    def client(self) -> str:
        """Key by which streams are counted: the user, else the host; empty if both are unknown."""
        if self.user.is_authenticated:
            return " of ".join(filter(None, [f"user {self.user.pk}", self.tenant]))
        return self.address and f"address {_host_of(self.address)}"

    def without_request(self) -> Visitor:
        """Return the same visitor, so that it can be kept for longer than its request.

        A lazy user holds the request from which it is loaded; a copy is the user itself.
        """
        is_lazy = isinstance(self.user, LazyObject)
        return dataclasses.replace(self, user=copy(self.user)) if is_lazy else self

    async def user_now(self) -> User:
        """Return the current user: anonymous after logout, deactivation or deletion.

        Queries the database, so the caller must release the request's thread afterwards.
        """
        user, session = self.user, self.session
        if not user.is_authenticated:
            return user
        login = None if session is None else await session.aget(SESSION_KEY)
        if session is not None and login is not None:
            request = HttpRequest()
            # The stored session, in which Django checks the hash of the user's password.
            # `__class__`, not `type`: Channels has lazy objects.
            request.session = session.__class__(session.session_key)
            logged_in = cast(User, await aget_user(request))
            # A user who impersonates another one must stay logged in, too.
            if login == str(user.pk) or not logged_in.is_authenticated:
                return logged_in
        # Authenticated by something that is not checked again, such as a header or certificate.
        users = getattr(user.__class__, "_default_manager", None)
        if users is None:
            return user
        now = await users.filter(pk=user.pk).afirst()
        return now if getattr(now, "is_active", False) else Nobody()


def _host_of(address: str) -> str:
    """Return the part of an address that identifies a host.

    An IPv6 host chooses the last 64 bits by itself, so those are left out. Other text, such as the
    path of a socket, is returned unchanged.
    """
    try:
        host = ip_address(address.partition("%")[0])  # Remove the zone, as in fe80::1%eth0.
    except ValueError:
        return address
    if isinstance(host, IPv6Address):
        return str(host.ipv4_mapped or IPv6Network((host, IPV6_HOST_BITS), strict=False))
    return str(host)


async def current_tenant() -> str:
    """Return the namespace of the current tenant; empty if `NAMESPACE` is no callable.

    It is called in the thread of the request's sync code, whose database connection may be the one
    that knows the tenant.
    """
    if not settings.has_tenants:
        return ""
    return await sync_to_async(lambda: settings.namespace)()


@sync_to_async
def _page_user(request: HttpRequest) -> User:
    """Return the user that pages see: not `auser()`, of which other middleware knows nothing."""
    user: Any = request.user
    # This also loads it: code in the event loop may not query the database.
    return user if hasattr(user, "is_authenticated") else Nobody()


async def visitor_of(request: HttpRequest) -> Visitor:
    """Return the visitor that sent `request`."""
    return Visitor(
        # A site without logins has no `user`.
        user=await _page_user(request) if hasattr(request, "user") else Nobody(),
        session=getattr(request, "session", None),
        address=request.META.get("REMOTE_ADDR") or "",
        tenant=await current_tenant(),
    )


async def visitor_at(scope: Mapping[str, Any]) -> Visitor:
    """Return the visitor that opens a WebSocket. May use a thread, which the caller must release.

    Args:
        scope: the connection's scope, with the user and session that Channels' middleware adds
            (https://channels.readthedocs.io/en/stable/topics/authentication.html).
    """
    host, _ = scope.get("client") or ("", None)
    return Visitor(
        user=scope.get("user") or Nobody(),
        session=scope.get("session"),
        address=host or "",
        tenant=await current_tenant(),
    )
