"""`import_queued` and `import_started`: when they are sent, and with what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from django_import_progress import (
    ImportSuperseded,
    JobExists,
    ProgressManager,
    ProgressUnavailable,
    SyncProgressManager,
    create_sync_redis_client,
    get_progress_manager,
    track_import,
)
from django_import_progress.contrib.queue_status import create_queued
from django_import_progress.core.lease import WriteResult
from django_import_progress.core.outcome import parse_previous
from django_import_progress.signals import import_finished, import_queued, import_started

from ..kit.processes import RedisProcess, free_port
from ..kit.recorded import begin_and_die, expire_lease
from ..kit.tracked import JOB, state

News = dict[str, Any]


@pytest.fixture
def sent(site: RedisProcess) -> Iterator[list[News]]:
    """The arguments of each signal, with its name."""
    told: list[News] = []
    names = {import_queued: "queued", import_started: "started", import_finished: "finished"}

    def receive(*, signal: Any, **news: Any) -> None:
        told.append({**news, "name": names[signal]})

    for signal in names:
        signal.connect(receive)
    yield told
    for signal in names:
        signal.disconnect(receive)


def test_a_created_job_is_reported_once(sent: list[News], jobs: SyncProgressManager) -> None:
    jobs.create(JOB, owner=7, data={"label": "A"})
    with suppress(JobExists):
        jobs.create(JOB)
    [news] = sent
    assert (news["name"], news["sender"]) == ("queued", ProgressManager)
    assert (news["job_id"], news["namespace"]) == (JOB, "import_progress")
    assert (news["owner"], news["status"]) == ("7", "queued")
    assert news["snapshot"] == state(jobs)
    names = ("attempt", "error", "run_id", "previous", "report")
    assert [news[name] for name in names] == [None] * 5


async def test_an_asyncio_manager_reports_it(sent: list[News], site: RedisProcess) -> None:
    job_id = await get_progress_manager().create()
    assert [(news["name"], news["job_id"]) for news in sent] == [("queued", job_id)]


def test_nothing_is_sent_if_redis_is_unavailable(sent: list[News]) -> None:
    client = create_sync_redis_client(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(ProgressUnavailable):
        SyncProgressManager(client).create(JOB)
    assert sent == []
    with track_import(JOB, manager=SyncProgressManager(client)) as job:
        [news] = sent
    assert (news["name"], news["attempt"]) == ("started", None)
    assert news["run_id"] == job._writer.run_id == sent[-1]["run_id"]
    client.close()


def test_a_job_that_a_queue_takes_again_is_queued_again(
    sent: list[News], jobs: SyncProgressManager
) -> None:
    for _ in range(2):
        create_queued(None, JOB, "7", {})
        with track_import(JOB):
            pass
    assert [news["name"] for news in sent] == ["queued", "started", "finished"] * 2
    assert [news["owner"] for news in sent] == ["7"] * 6


def test_a_start_has_the_attempt_and_the_one_before(
    sent: list[News], jobs: SyncProgressManager
) -> None:
    first = begin_and_die(total=5)
    expire_lease(jobs, 1)
    with track_import(JOB) as job:
        begun, lost, news = sent
    assert begun["previous"] is None
    assert (news["name"], news["attempt"], news["status"]) == ("started", 2, "importing")
    previous = news["previous"]
    assert (previous.run_id, previous.attempt) == (first._writer.run_id, 1)
    assert (previous.status, previous.was_just_lost) == ("lost", True)
    assert previous.snapshot["total_rows"] == 5
    assert (lost["name"], lost["status"], lost["report"]().total) == ("finished", "lost", 0)
    assert job._writer.run_id == news["run_id"] != lost["run_id"] == previous.run_id


def test_an_end_is_sent_with_the_rejected_rows(sent: list[News]) -> None:
    with track_import(JOB) as job:
        job.reject("row", "odd")
    report = sent[-1]["report"]()
    assert (report.total, [reject.reason for reject in report.rejects]) == (1, ["odd"])


def test_an_attempt_that_was_taken_over_while_it_began_is_not_reported(
    sent: list[News],
) -> None:
    tracker = track_import(JOB)
    tracker._lost = WriteResult.SUPERSEDED
    with suppress(ImportSuperseded), tracker:
        pass
    assert [news["name"] for news in sent] == []


def test_another_programs_fields_are_left_out() -> None:
    previous = parse_previous('["one","lost",1,0]', '"a":007')
    assert previous is not None
    assert previous.snapshot == {}
