"""Tickets, and the `AUTHORIZE` rule for bare ids."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured

from django_import_progress import InvalidJobId, get_progress_manager
from django_import_progress.access import Job, make_ticket, owner_or_staff
from django_import_progress.access.permissions import admit, rule_allows
from django_import_progress.access.tickets import Action, read_ticket
from django_import_progress.access.visitors import Nobody
from tests.kit.processes import RedisProcess

NAMESPACE = "import_progress"


def allowed(ticket: str, action: Action) -> str | None:
    """Return the id of the job for which a ticket allows the action."""
    grant = read_ticket(ticket, action, NAMESPACE)
    return None if grant is None else grant.job_id


def test_a_ticket_opens_its_own_job_only() -> None:
    assert allowed(make_ticket("a:b.c~d-e_f"), "watch") == "a:b.c~d-e_f"
    assert read_ticket(make_ticket("a"), "watch", "order_imports") is None
    assert read_ticket(make_ticket("a", namespace="order_imports"), "watch", NAMESPACE) is None
    assert read_ticket(make_ticket("a").replace("@wa", "@wb"), "watch", NAMESPACE) is None


def test_the_right_to_cancel_is_inside() -> None:
    assert allowed(make_ticket("a"), "cancel") is None
    assert allowed(make_ticket("a", cancel=True), "cancel") == "a"
    assert allowed(make_ticket("a", cancel=True), "watch") == "a"
    assert read_ticket(make_ticket("a").replace("@w", "@c"), "cancel", NAMESPACE) is None


def test_a_ticket_survives_a_changed_secret_key(settings: Any) -> None:
    ticket = make_ticket("a")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    assert allowed(ticket, "watch") == "a"
    settings.SECRET_KEY_FALLBACKS = []
    assert read_ticket(ticket, "watch", NAMESPACE) is None


def test_no_ticket_for_what_is_no_job_id() -> None:
    with pytest.raises(InvalidJobId):
        make_ticket("@")


@pytest.mark.parametrize(
    ("user", "owner", "allowed"),
    [
        (User(pk=7), "7", True),
        (User(pk=7), "8", False),
        (User(pk=7), None, False),
        (User(pk=8, is_staff=True), "7", True),
        (AnonymousUser(), None, False),
        (AnonymousUser(), "None", False),
        (Nobody(), "None", False),
        (User(), "None", False),
        (SimpleNamespace(pk=7, is_authenticated=True), "7", True),
        (SimpleNamespace(pk=7, is_authenticated=True), "8", False),
    ],
)
def test_owner_or_staff(user: Any, owner: str | None, allowed: bool) -> None:
    job = Job(job_id="a", namespace=NAMESPACE, owner=owner, snapshot={})
    assert owner_or_staff(user, job, "watch") is allowed


SEEN: list[Any] = []


def sync_rule(user: Any, job: Job, action: str) -> bool:
    SEEN.append((user, job, action))
    return User.objects.filter(username=user.name).exists()


async def async_rule(user: Any, job: Job, action: str) -> bool:
    SEEN.append((user, job, action))
    return user.name == "eve"


class CallableRule:
    async def __call__(self, user: Any, job: Job, action: str) -> bool:
        return await async_rule(user, job, action)


def lazy_rule(user: Any, job: Job, action: str) -> Any:
    SEEN.append((user, job, action))
    return User.objects.filter(username=user.name)


async def lazy_async_rule(user: Any, job: Job, action: str) -> Any:
    return lazy_rule(user, job, action)


def rule_of_another_kind(user: Any, job: Job, action: str) -> Any:
    return async_rule(user, job, action)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("rule", [lazy_rule, lazy_async_rule, rule_of_another_kind])
async def test_a_rule_may_answer_with_what_it_has_found(
    site: RedisProcess, settings: Any, rule: Any
) -> None:
    settings.IMPORT_PROGRESS = {**settings.IMPORT_PROGRESS, "AUTHORIZE": rule}
    await User.objects.acreate(username="eve")
    job = Job(job_id="a", namespace=NAMESPACE, owner=None, snapshot={})
    eve, adam = SimpleNamespace(name="eve"), SimpleNamespace(name="adam")
    assert await rule_allows(eve, job, "watch") is True  # type: ignore[arg-type]
    assert await rule_allows(adam, job, "watch") is False  # type: ignore[arg-type]


@pytest.mark.parametrize("door", ["watch", "cancel"])
async def test_a_site_that_is_set_up_wrongly_says_so(
    site: RedisProcess, settings: Any, door: Any
) -> None:
    settings.IMPORT_PROGRESS = {**settings.IMPORT_PROGRESS, "AUTHORIZE": None}
    with pytest.raises(ImproperlyConfigured, match="AUTHORIZE"):
        await admit("a", door, user=Nobody(), manager=get_progress_manager())


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "rule", ["tests.access.test_rules.sync_rule", sync_rule, async_rule, CallableRule()]
)
async def test_a_rule_of_ones_own(site: RedisProcess, settings: Any, rule: Any) -> None:
    settings.IMPORT_PROGRESS = {**settings.IMPORT_PROGRESS, "AUTHORIZE": rule}
    await User.objects.acreate(username="eve")
    manager = get_progress_manager()
    await manager.create("a", owner=7, data={"stage": "s"})
    SEEN.clear()
    eve, adam = SimpleNamespace(name="eve"), SimpleNamespace(name="adam")
    grant = await admit("a", "watch", user=eve, manager=manager)  # type: ignore[arg-type]
    assert grant is not None
    assert await admit("a", "watch", user=adam, manager=manager) is None  # type: ignore[arg-type]
    user, job, action = SEEN[0]
    assert (user, job.job_id, job.namespace, job.owner, action) == (
        eve,
        "a",
        NAMESPACE,
        "7",
        "watch",
    )
    assert job.snapshot["stage"] == "s"
    await admit("b", "watch", user=eve, manager=manager)  # type: ignore[arg-type]
    assert SEEN[-1][1].snapshot is None
