"""Sessions: requests that a page makes by itself do not extend them."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def leave_unextended(request: HttpRequest) -> None:
    """Save the request's session only if it was changed.

    With `SESSION_SAVE_EVERY_REQUEST` each request extends the session. A page that is left open
    polls, so its user would never be logged out.
    """
    session: Any = getattr(request, "session", None)
    if session is None:
        return
    save = session.save

    def save_changes(must_create: bool = False) -> None:
        if must_create or session.modified:
            save(must_create)

    session.save = save_changes
