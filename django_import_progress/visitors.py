"""Who asks: the user, as the request had it and as it is a while later, and the client."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, cast

from django.contrib.auth import SESSION_KEY, aget_user
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest


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
        """Whose streams are counted together: one user's or else one address's; empty: unknown."""
        if self.user.is_authenticated:
            return f"user {self.user.pk}"
        return self.address and f"address {self.address}"

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
