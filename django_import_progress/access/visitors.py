"""Who asks: the user, as the request had it and as it is a while later, and the client."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any, Protocol, cast

from django.contrib.auth import SESSION_KEY, aget_user
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

IPV6_HOST_BITS = 64
"""A network of so many bits is what one customer has at least (RFC 6177), and any address in it."""


class User(Protocol):
    """What a rule can count on in a user."""

    pk: Any
    is_authenticated: Any


class Nobody:
    """The visitor of a site that has no `AuthenticationMiddleware`."""

    pk = None
    is_authenticated = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who asks."""

    user: User
    """As the request had it; may be anonymous."""
    session: SessionBase | None = None
    address: str = ""
    """Where the request came from, as the server has it; empty where that is not known."""

    @property
    def client(self) -> str:
        """Whose streams are counted together: one user's or else one host's; empty: unknown."""
        if self.user.is_authenticated:
            return f"user {self.user.pk}"
        return self.address and f"address {_host_of(self.address)}"

    async def user_now(self) -> User:
        """Return the user as it is by now: nobody, once logged out, deactivated or deleted.

        Asks the database, so the thread of the request is to be released afterwards.
        """
        user, session = self.user, self.session
        if not user.is_authenticated:
            return user
        if session is not None and SESSION_KEY in session:
            request = HttpRequest()
            # The session as it is stored by now; Django compares it with the user's password.
            # Not by `type`: Channels has lazy ones.
            request.session = session.__class__(session.session_key)
            return cast(User, await aget_user(request))
        # Known by something else, which is not asked again: a header, a certificate.
        users = getattr(user.__class__, "_default_manager", None)
        if users is None:
            return user
        now = await users.filter(pk=user.pk).afirst()
        return now if getattr(now, "is_active", False) else Nobody()


def _host_of(address: str) -> str:
    """Return what one host has of an address: of IPv6 the first half, for it chooses the other.

    What is no address, such as the path of a socket, is returned as it is.
    """
    try:
        host = ip_address(address.partition("%")[0])  # Without the zone, as in fe80::1%eth0.
    except ValueError:
        return address
    if isinstance(host, IPv6Address):
        return str(host.ipv4_mapped or IPv6Network((host, IPV6_HOST_BITS), strict=False))
    return str(host)


async def visitor_of(request: HttpRequest) -> Visitor:
    """Return who has sent `request`."""
    return Visitor(
        # AuthenticationMiddleware sets `auser`; a site without logins has none.
        user=cast(User, await request.auser()) if hasattr(request, "auser") else Nobody(),
        session=getattr(request, "session", None),
        address=request.META.get("REMOTE_ADDR") or "",
    )


def visitor_at(scope: Mapping[str, Any]) -> Visitor:
    """Return who opens a WebSocket.

    Args:
        scope: the connection's, with what Channels' middleware has put into it, if there is any
            (https://channels.readthedocs.io/en/stable/topics/authentication.html).
    """
    host, _ = scope.get("client") or ("", None)
    return Visitor(
        user=scope.get("user") or Nobody(), session=scope.get("session"), address=host or ""
    )
