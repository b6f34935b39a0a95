"""What tests share: servers that live for the session, emptied before each test."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis
from asgiref.sync import SyncToAsync
from django.core.files.storage import FileSystemStorage
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from playwright.async_api import Browser, Page
from websockets.sync.client import ClientConnection

from django_import_progress import (
    ProgressManager,
    SyncProgressManager,
    get_sync_progress_manager,
)
from django_import_progress.history import reading, recorder
from django_import_progress.history.apps import ImportHistoryConfig
from django_import_progress.history.background import background
from django_import_progress.history.models import ImportRun
from django_import_progress.redis.executor import CALL_SECONDS
from django_import_progress.service.registry import ServerAtUrl
from django_import_progress.testing.memory import MemoryServer
from django_import_progress.tracker import tracker
from django_import_progress.watch import archive

from .kit.asgi import AsgiServer
from .kit.browser import chromium_binary, launched, note_complaints, write_down_answers
from .kit.controls import repeated
from .kit.databases import look_for_no_permissions
from .kit.facade import AsyncFacade
from .kit.lone import LoneWorker
from .kit.managers import manager_on
from .kit.processes import RedisProcess, redis_binary, valkey_binary
from .kit.project import Project, begun
from .kit.sockets import open_socket
from .kit.stalling import NEVER, STALLED_AFTER_SECONDS
from .kit.tracked import JOB, end_writers
from .kit.waiting import wait_for
from .site.asgi import application

hypothesis_settings.register_profile(
    "some",
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "50")),
    deadline=None,  # The machine may be busy.
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="FUZZ_EXAMPLES" not in os.environ,
)
hypothesis_settings.load_profile("some")

NOTHING_MAY_BE_MISSING = bool(os.environ.get("CI"))
"""Then what a test needs and does not find is a failure, and no reason to skip."""


def missing(what: str) -> None:  # pragma: no cover - where the machine has everything
    """Skip the test for lack of `what`; in CI, fail."""
    outcome = pytest.fail if NOTHING_MAY_BE_MISSING else pytest.skip
    outcome(f"{what} is missing")


def pytest_configure(config: pytest.Config) -> None:
    """Bear what a Cluster's client leaves open when its servers go, before redis-py 8."""
    if int(redis.__version__.split(".")[0]) < 8:  # pragma: no cover - of another environment
        config.addinivalue_line("filterwarnings", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `make soak` whatever runs a control once more."""
    for item in repeated(items):
        item.add_marker(pytest.mark.soak)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> None:
    """Make the database, and look no more for permissions."""
    look_for_no_permissions()


@pytest.fixture(scope="session", autouse=True)
def _no_history() -> Iterator[None]:
    """Record nothing and look up nothing: most tests have no database. See `history`."""
    recorder.disconnect()
    archive.use(None)
    with pytest.MonkeyPatch.context() as patched:
        # A test that changes `INSTALLED_APPS` has all apps made ready again.
        patched.setattr(ImportHistoryConfig, "ready", lambda _: None)
        yield


def _close_connections() -> None:
    for connection in connections.all(initialized_only=True):
        BaseDatabaseWrapper.close(connection)  # Also one to a database in memory.


@pytest.fixture(autouse=True)
def _no_connection_is_left() -> Iterator[None]:
    """Leave no connection in the thread of asyncio code: a later test may have no database."""
    yield
    SyncToAsync.single_thread_executor.submit(_close_connections).result()


@pytest.fixture
def archived(site: RedisProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Show what the database knows of jobs; use a fixture of the database as well.

    Reports are in `tmp_path`.
    """
    storage = FileSystemStorage(tmp_path / "reports")
    monkeypatch.setattr(ImportRun._meta.get_field("report"), "storage", storage)
    archive.use(reading)
    yield
    archive.use(None)


@pytest.fixture
def history(archived: None) -> Iterator[type[ImportRun]]:
    """Record imports as well."""
    recorder.connect()
    yield ImportRun
    recorder.disconnect()
    background.join()


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[RedisProcess]:
    """The embedded Valkey."""
    process = RedisProcess(valkey_binary()).start()
    yield process
    process.close()


@pytest.fixture(scope="session")
def redis_program() -> str:
    """The system's redis-server, as a program to be started."""
    binary = redis_binary()
    if binary is None:  # pragma: no cover - where the machine has everything
        missing("redis-server")
    return str(binary)


@pytest.fixture(scope="session")
def redis_server(redis_program: str) -> Iterator[RedisProcess]:
    """The system's redis-server, running."""
    process = RedisProcess(redis_program).start()
    yield process
    process.close()


def _emptied(process: RedisProcess) -> RedisProcess:
    end_writers()
    with redis.Redis(port=process.port) as client:
        client.flushall()
        client.script_flush()
    return process


@pytest.fixture
def server(valkey_server: RedisProcess) -> RedisProcess:
    """A server for one test, empty; Valkey's."""
    return _emptied(valkey_server)


NOT_IN_MEMORY = {
    "test_a_job_takes_at_most_500_bytes": "MEMORY USAGE",
    "test_a_job_with_its_owner_and_its_places_in_the_lists_does_too": "MEMORY USAGE",
    "test_it_takes_at_most_250_bytes_and_a_long_message_is_cut": "MEMORY USAGE",
    "test_a_large_import_in_batches_is_20_operations": "counts the commands of a real server",
    "test_what_redis_has_no_room_for_is_refused_and_nothing_is_lost": "maxmemory",
    "test_who_is_slow_gets_only_the_newest": "nobody is slow there: each update is received",
}
"""Tests of the contract that are about a server itself, and why."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on each kind of server; that of the managers' contract in memory as well.

    A test that uses the server directly, and so its port, cannot run in memory.
    """
    if "each_server" in metafunc.fixturenames:
        function = metafunc.function
        uses_server = "each_server" in inspect.signature(function).parameters
        in_memory = function.__module__.startswith("tests.service.") and not uses_server
        in_memory = in_memory and function.__name__ not in NOT_IN_MEMORY
        kinds = ["valkey", "redis", *(["memory"] if in_memory else [])]
        metafunc.parametrize("each_server", kinds, indirect=True)


@pytest.fixture
def each_server(request: pytest.FixtureRequest) -> RedisProcess | MemoryServer:
    """The same, one after the other for each kind of server."""
    if request.param == "memory":
        return MemoryServer(lambda _: None)
    process: RedisProcess = request.getfixturevalue(f"{request.param}_server")
    return _emptied(process)


@pytest.fixture
def raw(each_server: RedisProcess | MemoryServer) -> Iterator[redis.Redis]:
    """A client that sees what is really in `each_server`."""
    if isinstance(each_server, MemoryServer):
        yield each_server.raw
        return
    with redis.Redis(port=each_server.port) as client:
        yield client


@pytest.fixture(params=["async", "sync"])
async def progress(
    request: pytest.FixtureRequest, each_server: RedisProcess | MemoryServer
) -> AsyncIterator[ProgressManager]:
    """A manager of each kind, on each kind of server; the sync one behind a facade."""
    server = each_server if isinstance(each_server, MemoryServer) else ServerAtUrl(each_server.url)
    if request.param == "async":
        client = server.create_client()
        manager = ProgressManager(client)
        yield manager
        await manager.aclose()
        await client.aclose()
    else:
        sync_client = server.create_sync_client(CALL_SECONDS, 1)
        facade: Any = AsyncFacade(SyncProgressManager(sync_client))
        yield facade
        sync_client.close()


@pytest.fixture
def site(server: RedisProcess, settings: Any, monkeypatch: pytest.MonkeyPatch) -> RedisProcess:
    """Have the site's settings point to `server`, and no import take a busy machine for an outage.

    It would not wait until its end is in Redis then: see `core.pacing.Patience`.
    """
    monkeypatch.setattr(tracker, "ENTER_TURNS", 2000)
    settings.IMPORT_PROGRESS = {"REDIS_URL": server.url}
    return server


@pytest.fixture
def soon_stalled(site: RedisProcess, settings: Any) -> None:
    """Have workers believed alive for a second, and no heartbeat of the watchers to help."""
    settings.IMPORT_PROGRESS = {
        "REDIS_URL": site.url,
        "STALLED_AFTER_SECONDS": STALLED_AFTER_SECONDS,
        "HEARTBEAT_SECONDS": NEVER,
    }


@pytest.fixture
def lone_worker(site: RedisProcess) -> Iterator[LoneWorker]:
    """A worker in a process of its own, that has begun."""
    with LoneWorker(site.url, STALLED_AFTER_SECONDS=STALLED_AFTER_SECONDS) as process:
        process.has_entered()
        wait_for(lambda: get_sync_progress_manager().get_progress(JOB), "the import to have begun")
        yield process


@pytest.fixture
def live(site: RedisProcess, transactional_db: None) -> Iterator[AsgiServer]:
    """The site, served by uvicorn."""
    with AsgiServer(application) as asgi_server:
        yield asgi_server


@pytest.fixture
def prefix_socket(live: AsgiServer) -> Iterator[ClientConnection]:
    """The WebSocket of the prefix itself: one for several jobs."""
    with open_socket(f"{live.url}/ws/progress/") as connection:
        yield connection


@pytest.fixture
def jobs(site: RedisProcess) -> SyncProgressManager:
    """The manager made from the site's settings."""
    return get_sync_progress_manager()


@pytest.fixture(params=["async", "sync"])
async def quick(request: pytest.FixtureRequest, server: RedisProcess) -> AsyncIterator[Any]:
    """A manager of each kind that reads its watched jobs again all the time."""
    async with manager_on(request.param, server.url, heartbeat_seconds=0.2) as manager:
        yield manager


@pytest.fixture
def foreign(server: RedisProcess) -> Iterator[redis.Redis]:
    """Another program's client."""
    with redis.Redis(port=server.port) as client:
        yield client


@pytest.fixture(scope="session")
def begun_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `startproject` makes; the same for all workers of a run."""
    own = tmp_path_factory.getbasetemp()
    return begun(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


@pytest.fixture
def blank_project(tmp_path: Path, begun_project: Path, server: RedisProcess) -> Project:
    """A new project with an empty app."""
    return Project(tmp_path, server.url, begun_project)


@pytest.fixture
def project(blank_project: Project) -> Project:
    """A new project, made as the README's quick start says."""
    project = blank_project
    project.quick_start()
    return project


@pytest.fixture
def complaints() -> list[str]:
    """What went wrong on `page`; a test that provokes it empties the list."""
    return []


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A real Chromium; its tests run in the session's event loop, as it does."""
    binary = chromium_binary()
    if binary is None:  # pragma: no cover - where the machine has everything
        missing("Chromium")
    async with launched(str(binary)) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, complaints: list[str]) -> AsyncIterator[Page]:
    """A page of a visitor of its own, on which nothing may go wrong."""
    context = await browser.new_context()
    page = await context.new_page()
    note_complaints(page, complaints)
    write_down_answers(page)
    await context.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    yield page
    await context.close()
    assert complaints == []
