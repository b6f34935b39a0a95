"""The clients on the page about the wire protocol, against the real server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from django_import_progress.web.limits import open_streams

from ..conftest import missing
from ..kit.asgi import AsgiServer
from ..kit.commandlines import commands
from ..kit.documented import blocks
from ..kit.sse import open_stream
from ..kit.waiting import until, wait_for

PAGE = "docs/protocol.md"
Follow = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def follow(live: AsgiServer, tmp_path: Path) -> Follow:
    """Start the documented client on a job."""
    [client] = (block for block in blocks(PAGE) if block.file == "follow.py")
    (tmp_path / "follow.py").write_text(client.code)

    def start(job: str) -> subprocess.Popen[str]:
        url = f"{live.url}/progress/jobs/{job}/stream/"
        command = [sys.executable, tmp_path / "follow.py", url]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def told(client: subprocess.Popen[str]) -> tuple[list[dict[str, Any]], int, str]:
    """Return what the client has printed until its end, its exit code, and its complaints."""
    out, err = client.communicate(timeout=20)
    return [json.loads(line) for line in out.splitlines()], client.returncode, err


@pytest.mark.parametrize(("status", "code"), [("done", 0), ("failed", 1), ("cancelled", 2)])
def test_it_follows_a_job_to_its_end(
    jobs: SyncProgressManager, follow: Follow, status: str, code: int
) -> None:
    job_id = jobs.create(data={"total_rows": 4})
    client = follow(make_ticket(job_id))
    assert client.stdout is not None
    first = json.loads(client.stdout.readline())
    assert (first["job_id"], first["status"], first["percent"]) == (job_id, "queued", 0.0)
    jobs.update(job_id, {"status": status, "processed_rows": 3})
    heard, returned, complaints = told(client)
    assert (heard[-1]["status"], heard[-1]["processed_rows"]) == (status, 3)
    assert (returned, complaints) == (code, "")


def test_it_comes_back_when_a_stream_closes_and_stops_when_the_job_goes(
    jobs: SyncProgressManager, follow: Follow, settings: Any
) -> None:
    lasting = {**settings.IMPORT_PROGRESS, "HEARTBEAT_SECONDS": 0.5}
    settings.IMPORT_PROGRESS = {**lasting, "STREAM_SECONDS": 0.1}
    job_id = jobs.create()
    client = follow(make_ticket(job_id))
    assert client.stdout is not None
    assert json.loads(client.stdout.readline())["status"] == "queued"
    wait_for(lambda: len(open_streams) == 0, "the stream to close")
    settings.IMPORT_PROGRESS = lasting
    jobs.update(job_id, {"processed_rows": 1})
    assert json.loads(client.stdout.readline())["processed_rows"] == 1
    jobs.delete(job_id)
    assert told(client)[1:] == (3, "")


def test_who_may_not_watch_is_told_so(jobs: SyncProgressManager, follow: Follow) -> None:
    _, returned, complaints = told(follow(jobs.create()))
    assert returned == 1
    assert "HTTP Error 404" in complaints


def test_curl_does_as_well(jobs: SyncProgressManager, live: AsgiServer) -> None:
    if not shutil.which("curl"):  # pragma: no cover - where the machine has everything
        missing("curl")
    job_id = jobs.create(data={"status": "done"})
    [shell] = (block for block in blocks(PAGE) if block.language == "sh")
    text = shell.code.replace("https://example.org", live.url)
    answers = [
        subprocess.run([*words, "--silent"], capture_output=True, text=True, check=True).stdout
        for words in commands(text.replace("$JOB", make_ticket(job_id)))
    ]
    assert answers[0].endswith("event: end\ndata: \n\n")
    assert json.loads(answers[1])["status"] == "done"


FOLLOW = """async (path) => {
    const { follow } = await import("/follow.js");
    window.shown = [];
    window.first = new Promise((resolve) => {
        window.result = follow(path, (job) => resolve(window.shown.push(job)));
    });
}"""
"""Follows a job by the documented module."""


async def followed(page: Page, live: AsgiServer, job: str) -> None:
    """Let the documented client for browsers follow a job."""
    [client] = (block for block in blocks(PAGE) if block.file == "follow.js")
    await page.route(
        "**/follow.js",
        lambda route: route.fulfill(body=client.code, content_type="text/javascript"),
    )
    await page.goto(f"{live.url}/bars/")
    await page.evaluate(FOLLOW, f"/progress/jobs/{job}/stream/")


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
async def test_a_browser_follows_a_job_to_its_end(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create(data={"total_rows": 4})
    await followed(page, live, make_ticket(job_id))
    await page.evaluate("window.first")
    jobs.update(job_id, {"status": "done", "processed_rows": 4})
    assert (await page.evaluate("window.result"))["status"] == "done"
    shown = await page.evaluate("window.shown")
    assert (shown[0]["status"], shown[-1]["percent"]) == ("queued", 100.0)


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
async def test_a_browser_stops_when_the_job_goes_and_when_it_may_not_watch(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, complaints: list[str]
) -> None:
    job_id = jobs.create()
    await followed(page, live, make_ticket(job_id))
    await page.evaluate("window.first")
    jobs.delete(job_id)
    assert await page.evaluate("window.result") is None
    await followed(page, live, jobs.create())
    assert await page.evaluate("window.result") is None
    await until(lambda: len(complaints) == 2, "both responses to be logged")
    assert all("404" in complaint for complaint in complaints)
    complaints.clear()


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
async def test_a_browser_comes_back_after_an_error_response(
    live: AsgiServer,
    page: Page,
    jobs: SyncProgressManager,
    settings: Any,
    complaints: list[str],
) -> None:
    allowed = settings.IMPORT_PROGRESS
    job_id = jobs.create()
    settings.IMPORT_PROGRESS = {**allowed, "MAX_STREAMS": 1}
    with open_stream(f"{live.url}/progress/jobs/{make_ticket(job_id)}/stream/"):
        await followed(page, live, make_ticket(job_id))
        await page.evaluate("window.first")  # What it polled.
    settings.IMPORT_PROGRESS = allowed
    jobs.update(job_id, {"status": "failed"})
    assert (await page.evaluate("window.result"))["status"] == "failed"
    assert "503" in complaints[0]
    complaints.clear()
