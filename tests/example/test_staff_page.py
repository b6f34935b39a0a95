"""The example's page for staff: a consumer of the site's own, fed by the relay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.routing import ProtocolTypeRouter
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from example.asgi import websocket
from playwright.async_api import Page, expect
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from django_import_progress import SyncProgressManager

from ..kit.airports import ZURICH, as_csv, imported, stored
from ..kit.asgi import AsgiServer
from ..kit.groups import configuration, relaying
from ..kit.processes import RedisProcess
from ..kit.recorded import the_run
from ..site.asgi import django as site_pages

PASSWORD = "of a test"


@pytest.fixture
def staff(site: RedisProcess, settings: Any, transactional_db: None) -> Iterator[AsgiServer]:
    """The example's routes, and a member of staff who may log in."""
    settings.CHANNEL_LAYERS = configuration("pubsub", site.url)
    User.objects.create_user("amelia", password=PASSWORD, is_staff=True)
    application = ProtocolTypeRouter({"http": site_pages, "websocket": websocket})
    with AsgiServer(application) as server:
        yield server


@pytest.fixture
def cookie(staff: AsgiServer) -> str:
    """The page of a staff user that is logged in."""
    client = Client()
    client.force_login(User.objects.get(username="amelia"))
    return f"sessionid={client.cookies['sessionid'].value}"


async def log_in(page: Page, url: str) -> None:
    await page.goto(url + reverse("airports:now"))
    await page.get_by_label("Username").fill("amelia")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_text("Live")).to_be_visible()


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
async def test_staff_follow_three_imports_at_once(
    staff: AsgiServer,
    page: Page,
    site: RedisProcess,
    jobs: SyncProgressManager,
    tmp_path: Path,
    settings: Any,
) -> None:
    settings.MEDIA_ROOT = tmp_path
    total = {"total_rows": 4}
    first, *others = [str((await sync_to_async(stored)(b"")).pk) for _ in range(3)]
    jobs.create("not-an-import", data=total)
    jobs.create(first, data=total)
    async with relaying(site.url, "pubsub", site.url):
        await log_in(page, staff.url)
        row = page.locator(f"[data-import='{first}']")
        await expect(row.get_by_role("cell").first).to_have_text("some.csv")
        await expect(row.locator("[data-show=status]")).to_have_text("Queued")
        for job_id in others:
            jobs.create(job_id, data=total)
        jobs.create(data=total)  # A UUID, but no import.
        await expect(page.locator("[data-import]")).to_have_count(3)
        for job_id, status in zip((first, *others), ("done", "failed", "cancelled"), strict=True):
            bar = page.locator(f"[data-import='{job_id}'] import-progress")
            jobs.update(job_id, {"status": "importing", "processed_rows": 1})
            await expect(bar.locator("progress")).to_have_js_property("value", 25)
            jobs.update(job_id, {"status": status})
            await expect(bar).to_have_attribute("data-status", status)
        jobs.delete(first)
        await expect(row).to_have_count(0)


def test_the_page_does_without_redis(client: Client, db: None) -> None:
    client.force_login(User.objects.create_user("amelia", is_staff=True))
    assert client.get(reverse("airports:now")).status_code == 200
    assert client.get(reverse("airports:now-row")).status_code == 204


@pytest.mark.usefixtures("history")
@pytest.mark.django_db(transaction=True)
def test_the_page_has_imports_that_redis_has_forgotten(
    client: Client, jobs: SyncProgressManager, tmp_path: Path, settings: Any
) -> None:
    settings.MEDIA_ROOT = tmp_path
    job_id = str(imported(as_csv(ZURICH, {**ZURICH, "lat": "north"})).pk)
    assert the_run(job_id).report
    jobs.redis.flushall()
    client.force_login(User.objects.create_user("amelia", is_staff=True))
    page = client.get(reverse("airports:now")).content.decode()
    assert f'data-job="{job_id}"' in page
    assert "Partly imported" in page
    assert "/rejects/" in page


@pytest.mark.django_db
def test_the_page_is_for_staff_only(client: Client) -> None:
    url = reverse("airports:now")
    assert client.get(url)["Location"] == f"{reverse('airports:login')}?next={url}"
    client.force_login(User.objects.create_user("bessie"))
    assert client.get(url).status_code == 403
    client.force_login(User.objects.create_user("amelia", is_staff=True))
    assert client.get(url).status_code == 200


async def test_so_is_its_socket_and_for_pages_of_the_site_only(
    staff: AsgiServer, cookie: str
) -> None:
    url = staff.url.replace("http", "ws") + "/ws/imports/"
    async with connect(url, additional_headers={"Origin": staff.url, "Cookie": cookie}):
        """Accept."""
    for headers in ({"Origin": staff.url}, {"Origin": "https://a.example", "Cookie": cookie}):
        with pytest.raises(InvalidStatus) as refusal:
            await connect(url, additional_headers=headers)
        assert refusal.value.response.status_code == 403
