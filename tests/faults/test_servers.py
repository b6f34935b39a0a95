"""Each server serves a stream to its end, and forgets who has gone."""

from __future__ import annotations

import pytest

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from tests.kit.processes import RedisProcess
from tests.kit.servers import AT, ServerProcess, documented
from tests.kit.visitors import subscribers
from tests.kit.waiting import until
from tests.kit.wires import Wire


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
