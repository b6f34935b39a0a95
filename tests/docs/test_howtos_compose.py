"""The page on Docker Compose: its services, started as processes, for no test has containers."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
import yaml

from django_import_progress import SyncProgressManager

from ..conftest import missing
from ..kit.nginx import Nginx, nginx_binary, passed_on
from ..kit.processes import free_port
from ..kit.project import Project

PAGE = "docs/docker-compose.md"


def pressed(client: httpx.Client) -> str:
    """Press the button as a browser does, which says where its page is from; get the answer."""
    [token] = re.findall(r'"csrfmiddlewaretoken" value="(\w+)"', client.get("/import/").text)
    origin = {"Origin": str(client.base_url)}
    answer = client.post("/import/", data={"csrfmiddlewaretoken": token}, headers=origin)
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.fixture
def composed(project: Project) -> dict[str, Any]:
    """The services, of a project that has followed the page."""
    project.follow("docs/task-queues.md", "Celery, with `ImportTask`")
    project.follow(PAGE)
    services: dict[str, Any] = yaml.safe_load((project.folder / "compose.yaml").read_text())
    return services["services"]


def test_each_service_finds_what_it_needs(composed: dict[str, Any], project: Project) -> None:
    for name, service in composed.items():
        assert set(service.get("depends_on", [])) <= set(composed), name
        for volume in service.get("volumes", []):
            assert (project.folder / volume.split(":")[0]).exists(), name
        for url in service.get("environment", {}).values():
            assert url == "redis://redis:6379/0", name


def test_a_page_and_its_stream_come_through_all_of_them(
    composed: dict[str, Any], project: Project, jobs: SyncProgressManager
) -> None:
    binary = nginx_binary()
    if binary is None:  # pragma: no cover - where the machine has everything
        missing("nginx")
    port = str(free_port())
    web = re.sub(r"--host \S+ --port 8000", f"--port {port}", composed["web"]["command"])
    worker = f"{composed['worker']['command']} --pool solo"
    more, others = (passed_on(page)[0] for page in (PAGE, "docs/servers.md"))
    project.run("manage.py", "collectstatic", "--noinput", "--verbosity", "0")
    with ExitStack() as stack:
        for line, ready in ((web, "running on"), (worker, " ready.")):
            stack.enter_context(
                project.started(["-m", *shlex.split(line)], lambda log, ready=ready: ready in log)
            )
        nginx = stack.enter_context(Nginx(str(binary), int(port), more))
        client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{nginx.port}"))
        page = pressed(client)
        [script] = re.findall(r'src="(/static/.*?import-progress.js)"', page)
        assert client.get(script).status_code == 200
        [stream] = re.findall(r'data-stream="(.*?)"', page)
        with client.stream("GET", stream, timeout=20) as response:
            lines = (line for line in response.iter_lines() if line.startswith("data: {"))
            events = (json.loads(line.removeprefix("data: ")) for line in lines)
            moving = next(event for event in events if event.get("processed_rows"))
            jobs.request_cancel(moving["job_id"])
            *_, told = events
        beside = stack.enter_context(Nginx(str(binary), int(port), others))
        with httpx.Client(base_url=f"http://127.0.0.1:{beside.port}") as client:
            [other] = re.findall(r'data-job="(.*?)"', pressed(client))
        jobs.request_cancel(other)
    assert (told["status"], told["total_rows"]) == ("cancelled", 300)
