"""Negative controls that switch off access checks and limits."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from django.core import signing
from django.middleware.csrf import CsrfViewMiddleware

from django_import_progress import urls
from django_import_progress.access import Permission, permissions, tickets
from django_import_progress.web import consumers, limits, views


async def _none(*_: Any) -> list[str]:
    return []


async def _yes_later(*_: Any) -> bool:
    return True


def lets_everybody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow everything."""
    monkeypatch.setattr(permissions, "rule_allows", _yes_later)


def lets_a_failing_rule_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Django respond to an exception in the rule."""
    monkeypatch.setattr(permissions, "_is_allowed", permissions.rule_allows)


def believes_every_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept a ticket without checking its signature."""

    def unsign(self: Any, value: str, max_age: object = None) -> str:
        return value.split(":", maxsplit=1)[0]

    monkeypatch.setattr(signing.TimestampSigner, "unsign", unsign)


def has_tickets_for_an_id_and_not_for_an_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept a ticket for another owner's job with the same id."""
    monkeypatch.setattr(tickets.Grant, "may_see", lambda *_: True)


def has_tickets_that_never_grow_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept expired tickets."""
    monkeypatch.setattr(type(permissions.settings), "ticket_seconds", None)


def has_tickets_for_all_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sign all tickets with the same salt."""
    monkeypatch.setattr(tickets, "_signer", lambda _: signing.TimestampSigner())


def has_tickets_for_all_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a ticket to watch allow any action."""
    monkeypatch.setattr(tickets, "_RIGHTS", dict.fromkeys("wc", ("watch", "cancel")))


def never_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check permission only when a stream is opened."""
    monkeypatch.setattr(Permission, "lost", _none)


def asks_again_about_the_same_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the user of the original request."""

    async def user(self: Any) -> Any:
        return self.user

    monkeypatch.setattr("django_import_progress.access.visitors.Visitor.user_now", user)


def takes_absence_for_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget a job's owner as soon as Redis does."""
    admit_all = permissions.admit_all

    async def admit(*args: Any, before: object = None, **kwargs: Any) -> Any:
        return await admit_all(*args, **kwargs)

    monkeypatch.setattr(permissions, "admit_all", admit)


def trusts_every_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not check the CSRF token."""
    monkeypatch.setattr(CsrfViewMiddleware, "process_view", lambda *_: None)


def counts_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not limit the streams of a client."""
    monkeypatch.setattr(limits.OpenStreams, "of", lambda *_: 0)


def obeys_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run all commands of a client at once."""
    monkeypatch.setattr(limits.Turns, "of", lambda *_: nullcontext())


def limits_before_it_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the limits before permission."""

    async def full(*_: Any, **__: Any) -> Any:
        return views._retry_later("There are too many open streams.")

    for view in ("snapshot", "rejects", "stream", "streams", "cancel"):
        pattern = next(found for found in urls.urlpatterns if found.name == view)
        monkeypatch.setattr(pattern, "callback", full)
    monkeypatch.setattr(consumers, "_refuse", consumers._accept_and_close)
