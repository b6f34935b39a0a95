"""The admin's import page: its bar moves while the request runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.test import Client
from playwright.async_api import Page, expect

from django_import_progress import SyncProgressManager

from ..kit.admin import ADMIN, add_admin, bars_shown, confirm, upload
from ..kit.asgi import AsgiServer
from ..kit.browser import IN_A_BROWSER
from ..kit.waiting import until

pytestmark = [*IN_A_BROWSER, pytest.mark.django_db(transaction=True)]
ROWS = 40


class Gate:
    """Blocks an import until rows are let through."""

    def __init__(self) -> None:
        self._room = threading.Semaphore(0)

    def __call__(self, resource: Any, number: int) -> None:
        assert self._room.acquire(timeout=60)

    def let_through(self, rows: int) -> None:
        self._room.release(rows)


@pytest.fixture
def gate(settings: Any, jobs: SyncProgressManager) -> Iterator[Gate]:
    """A gate before each row of the admin's import."""
    add_admin(settings)
    from ..site import groups

    gate = Gate()
    groups.GroupResource.before_each = staticmethod(gate)
    yield gate
    groups.GroupResource.before_each = staticmethod(lambda resource, number: None)


@pytest.fixture
def session(db: None) -> str:
    """The session of a user who may import."""
    client = Client()
    client.force_login(User.objects.create(**ADMIN))
    return client.cookies["sessionid"].value


@pytest.fixture
def admin(gate: Gate, session: str) -> Iterator[str]:
    """The URL of the admin."""
    with AsgiServer(ASGIStaticFilesHandler(get_asgi_application())) as server:
        yield server.url


async def moves(shown: list[Any], gate: Gate, stage: str) -> None:
    """Wait until the bar shows a quarter, then half."""
    for rows in (10, 20):
        gate.let_through(10)
        wanted = {"stage": stage, "rows": f"{rows} of {ROWS} rows", "visible": True}
        wanted["value"] = rows / ROWS * 100
        await until(lambda wanted=wanted: wanted in shown, f"{wanted}, where there was {shown}")
    gate.let_through(ROWS - 20)


async def test_the_bar_moves_while_the_file_is_checked_and_while_it_is_imported(
    admin: str, page: Page, session: str, gate: Gate
) -> None:
    await page.context.add_cookies([{"name": "sessionid", "value": session, "url": admin}])
    shown = await bars_shown(page)
    await page.goto(f"{admin}/admin/auth/group/import/")
    await expect(page.locator("import-progress")).to_be_hidden()
    await upload(page, ROWS)
    await moves(shown, gate, "checking")
    await confirm(page)
    await moves(shown, gate, "rows")
    await expect(page.get_by_text(f"Import finished: {ROWS} new")).to_be_visible()
    assert await sync_to_async(Group.objects.count)() == ROWS
