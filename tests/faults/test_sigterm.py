"""A server that is told to end does not wait for the streams that are open."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from tests.kit import servers
from tests.kit.controls import without
from tests.kit.processes import RedisProcess
from tests.kit.servers import AT, ServerProcess, documented
from tests.kit.waiting import until
from tests.kit.wires import HandedWire, SocketWire, SseWire, Wire

BARE = {
    "uvicorn": "uvicorn mysite.asgi:application",
    "granian": "granian mysite.asgi:application --interface asginl",
    "hypercorn": "hypercorn mysite.asgi:application",
    "gunicorn": "gunicorn mysite.asgi:application --worker-class uvicorn_worker.UvicornWorker",
}
"""The servers that need to be told. Daphne needs not."""


def nothing_on_the_command_line_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "documented", lambda kind, page: BARE[kind])


def nothing_on_the_command_line_but_to_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = f"{BARE['uvicorn']} --reload"
    monkeypatch.setattr(servers, "documented", lambda kind, *, reloads: bare)


@without(nothing_on_the_command_line_about_it)
@pytest.mark.parametrize("kind", BARE)
async def test_a_server_that_is_started_as_documented_ends_within_five_seconds(
    server: RedisProcess, jobs: SyncProgressManager, kind: str, defence: bool
) -> None:
    seconds = 5 if defence else 2.5
    await ends(server, jobs, kind, "docs/servers.md", SseWire, within_seconds=seconds)


async def test_so_does_gunicorn_with_its_own_asgi_worker(
    server: RedisProcess, jobs: SyncProgressManager
) -> None:
    command = documented("gunicorn").replace("uvicorn_worker.UvicornWorker", "asgi")
    with ServerProcess(server.url, command) as site:
        async with await SseWire.of(site.port, make_ticket(jobs.create())) as watching:
            await watching.shown()
            site.terminate()
            site.exit_code(5)


@pytest.mark.parametrize(
    ("kind", "page", "wire"),
    [
        ("daphne", "docs/servers.md", SseWire),
        ("uvicorn", "README.md", SseWire),
        ("uvicorn", "docs/servers.md", HandedWire),
    ],
)
async def test_so_does_daphne_and_so_it_is_in_the_readme_and_with_the_fast_lane(
    server: RedisProcess, jobs: SyncProgressManager, kind: str, page: str, wire: type[Wire]
) -> None:
    await ends(server, jobs, kind, page, wire, within_seconds=5)


@pytest.mark.parametrize("kind", AT)
async def test_so_does_each_with_open_websockets(
    server: RedisProcess, jobs: SyncProgressManager, kind: str
) -> None:
    await ends(server, jobs, kind, "docs/servers.md", SocketWire, within_seconds=5)


@without(nothing_on_the_command_line_but_to_reload)
async def test_a_file_that_changes_starts_the_server_anew_though_a_page_is_open(
    server: RedisProcess, jobs: SyncProgressManager, tmp_path: Path
) -> None:
    code = tmp_path / "code.py"
    code.touch()
    command = f"{servers.documented('uvicorn', reloads=True)} --reload-dir {tmp_path}"
    with ServerProcess(server.url, command) as site:
        async with await SseWire.of(site.port, make_ticket(jobs.create())) as watching:
            await watching.shown()
            code.write_text("changed = True")
            await until(
                lambda: site.output().count("Application startup complete") == 2,
                "the server to start anew",
            )


async def ends(
    server: RedisProcess,
    jobs: SyncProgressManager,
    kind: str,
    page: str,
    wire: type[Wire],
    within_seconds: float,
) -> None:
    with ServerProcess(server.url, servers.documented(kind, page)) as site:
        async with await wire.of(site.port, make_ticket(jobs.create())) as watching:
            await watching.shown()
            site.terminate()
            site.exit_code(within_seconds)
