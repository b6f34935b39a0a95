"""The names of the users who own imports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from .models import ImportRun

MOST_USERS = 100
"""How many users with a matching name a search finds."""


class Owners:
    """The names of the owners of some runs, found with one query."""

    def __init__(self, runs: Iterable[ImportRun]) -> None:
        self._owners = {run.owner for run in runs if run.owner}
        self._names: dict[str, str] | None = None

    def name(self, owner: str) -> str:
        """Return the name of an owner."""
        if self._names is None:
            users = _users().in_bulk(
                key for owner in self._owners if (key := _key(owner)) is not None
            )
            self._names = {str(key): user.get_username() for key, user in users.items()}
        return self._names.get(owner, owner)


def _key(owner: str | None) -> Any:
    """Return an owner as a primary key of users; None if it cannot be one."""
    try:
        # Numbers beyond the column's range are refused, too: SQLite cannot look them up.
        return get_user_model()._meta.pk.clean(owner, None)  # noqa: SLF001 - it is public
    except ValidationError:
        return None


def owners_named(text: str) -> list[str]:
    """Return the owners whose user names contain a text."""
    matches = {f"{get_user_model().USERNAME_FIELD}__icontains": text}
    keys = _users().filter(**matches).values_list("pk", flat=True)[:MOST_USERS]
    return [str(key) for key in keys]


def _users() -> Any:
    return get_user_model()._default_manager  # noqa: SLF001 - it is public
