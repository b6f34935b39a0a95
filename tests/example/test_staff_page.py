"""The example's page for staff: a consumer of the site's own, fed by the relay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from channels.routing import ProtocolTypeRouter
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from example.asgi import websocket
from playwright.async_api import Page, expect
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from django_import_progress import SyncProgressManager

from ..kit.asgi import AsgiServer
from ..kit.groups import configuration, relaying
from ..kit.processes import RedisProcess
from ..site.asgi import http

PASSWORD = "of a test"


@pytest.fixture
def staff(site: RedisProcess, settings: Any, transactional_db: None) -> Iterator[AsgiServer]:
    """The example's routes, and a member of staff who may log in."""
    settings.CHANNEL_LAYERS = configuration("pubsub", site.url)
    User.objects.create_user("amelia", password=PASSWORD, is_staff=True)
    application = ProtocolTypeRouter({"http": http, "websocket": websocket})
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
    staff: AsgiServer, page: Page, site: RedisProcess, jobs: SyncProgressManager
) -> None:
    jobs.create("j1", data={"total_rows": 4})
    async with relaying(site.url, "pubsub", site.url):
        await log_in(page, staff.url)
        await expect(page.locator("[data-job=j1] [data-show=status]")).to_have_text("queued")
        for job_id in ("j2", "j3"):
            jobs.create(job_id, data={"total_rows": 4})
        for processed in (1, 3):
            for job_id in ("j1", "j2", "j3"):
                jobs.update(job_id, {"status": "importing", "processed_rows": processed})
                row = page.locator(f"[data-job={job_id}]")
                await expect(row.locator("[data-show=rows]")).to_have_text(f"{processed} of 4")
                bar = row.locator("progress")
                await expect(bar).to_have_js_property("value", 25 * processed)
        for job_id, status in (("j1", "done"), ("j2", "failed"), ("j3", "cancelled")):
            jobs.update(job_id, {"status": status})
            await expect(page.locator(f"[data-job={job_id}]")).to_have_attribute(
                "data-status", status
            )
        jobs.delete("j2")
        await expect(page.locator("[data-job=j2]")).to_have_count(0)


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
