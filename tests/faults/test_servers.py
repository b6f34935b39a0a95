"""Each server serves a stream to its end, and forgets who has gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from tests.kit import servers
from tests.kit.controls import without
from tests.kit.processes import RedisProcess
from tests.kit.servers import AT, ServerProcess, documented
from tests.kit.visitors import subscribers
from tests.kit.waiting import until
from tests.kit.wires import Wire, on_each_wire


@on_each_wire
@pytest.mark.parametrize("kind", AT)
async def test_a_stream_goes_from_the_first_snapshot_to_the_end(
    server: RedisProcess, jobs: SyncProgressManager, kind: str, wire: type[Wire]
) -> None:
    with ServerProcess(server.url, documented(kind), HEARTBEAT_SECONDS=1) as site:
        job_id = jobs.create()
        async with await wire.of(site.port, make_ticket(job_id)) as watching:
            assert (await watching.shown())["status"] == "queued"
            jobs.update(job_id, {"n": 1})
            assert (await watching.shown())["n"] == 1
            await left_by_one_who_crashes(site, jobs, wire)
            jobs.update(job_id, {"status": "done"})
            assert (await watching.shown())["status"] == "done"
            assert await watching.has_ended()
        await until(lambda: subscribers(jobs, job_id) == 0, "the hub to unsubscribe")


async def left_by_one_who_crashes(
    site: ServerProcess, jobs: SyncProgressManager, wire: type[Wire]
) -> None:
    job_id = jobs.create()
    async with await wire.of(site.port, make_ticket(job_id)) as watching:
        await watching.shown()
        assert subscribers(jobs, job_id) == 1
    # At once, or with the next heartbeat, which is when some servers see it.
    await until(lambda: subscribers(jobs, job_id) == 0, "the hub to unsubscribe", seconds=3)


UNFOLDED_MIB = 14
"""So long is the message that is sent; compressed it is a thousandth of that."""


def peak_mib(pid: int) -> float:
    """Return how much memory a process has ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def nothing_on_the_command_line_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "documented", lambda _: "uvicorn mysite.asgi:application")


@without(nothing_on_the_command_line_about_it)
def test_a_message_that_is_small_on_the_way_only_is_never_unfolded(server: RedisProcess) -> None:
    with ServerProcess(server.url, servers.documented("uvicorn")) as site:
        url = f"ws://127.0.0.1:{site.port}/ws/progress/"
        with connect(url, compression="deflate", proxy=None) as connection:
            before = peak_mib(site.pid)
            connection.send("\0" * UNFOLDED_MIB * 2**20)
            with pytest.raises(ConnectionClosed):
                connection.recv(timeout=20)
        assert connection.close_code == 1009
        assert peak_mib(site.pid) - before < UNFOLDED_MIB / 2
