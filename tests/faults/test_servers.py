"""Each server serves a stream to its end, and forgets who has gone."""

from __future__ import annotations

import pytest

from django_import_progress import SyncProgressManager
from tests.kit.crowd import Stream, path_of
from tests.kit.processes import RedisProcess
from tests.kit.servers import AT, ServerProcess, documented
from tests.kit.visitors import subscribers
from tests.kit.waiting import until


@pytest.mark.parametrize("kind", AT)
async def test_a_stream_goes_from_the_first_snapshot_to_the_end(
    server: RedisProcess, jobs: SyncProgressManager, kind: str
) -> None:
    with ServerProcess(server.url, documented(kind), HEARTBEAT_SECONDS=1) as site:
        job_id = jobs.create()
        async with await Stream.open(site.port, path_of(job_id)) as stream:
            assert (await stream.event()).json["status"] == "queued"
            jobs.update(job_id, {"n": 1})
            assert (await stream.event()).json["n"] == 1
            await left_by_one_who_crashes(site, jobs)
            jobs.update(job_id, {"status": "done"})
            assert (await stream.event()).json["status"] == "done"
            assert (await stream.event()).type == "end"
            assert await stream.is_over()
        await until(lambda: subscribers(jobs, job_id) == 0, "the hub to unsubscribe")


async def left_by_one_who_crashes(site: ServerProcess, jobs: SyncProgressManager) -> None:
    job_id = jobs.create()
    async with await Stream.open(site.port, path_of(job_id)) as stream:
        await stream.event()
        assert subscribers(jobs, job_id) == 1
    # At once, or with the next heartbeat, which is when some servers see it.
    await until(lambda: subscribers(jobs, job_id) == 0, "the hub to unsubscribe", seconds=3)
