"""An interruption while waiting for the final status does not change how the import ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from django.db import transaction

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.tracker import writer

from ..kit.processes import RedisProcess
from ..kit.tracked import JOB, state
from ..kit.waiting import until
from ..site import tasks


@pytest.fixture
def interrupted() -> Iterator[None]:
    """Interrupt the first wait for the final status, as by Ctrl-C."""

    def interrupt(*_: object, **__: object) -> None:
        context.undo()
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as context:
        context.setattr(writer.Writer, "wait_until_ended", interrupt)
        context.setattr(writer.Writer, "wait_until_flushed", interrupt)
        yield


@pytest.mark.usefixtures("interrupted")
def test_receivers_are_still_notified(ends: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt), track_import(JOB):
        pass
    assert ends == ["done"]


@pytest.mark.usefixtures("interrupted")
def test_those_of_a_task_as_well(ends: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        tasks.import_badly.apply(("invalid",), task_id=JOB)
    assert ends == ["failed"]


@pytest.mark.usefixtures("interrupted")
@pytest.mark.django_db(transaction=True)
def test_in_a_transaction_the_final_status_is_written_after_the_commit(
    jobs: SyncProgressManager, ends: list[str]
) -> None:
    with transaction.atomic():
        with pytest.raises(KeyboardInterrupt), track_import(JOB):
            pass
        assert ends == []
    assert ends == ["done"]
    assert state(jobs)["status"] == "done"


async def test_receivers_are_notified_if_leaving_is_cancelled(
    site: RedisProcess, ends: list[str]
) -> None:
    job = await track_import(JOB).__aenter__()
    assert job._writer is not None
    with site.frozen():
        leaving = asyncio.create_task(job.__aexit__(None, None, None))
        await until(lambda: job._writer and job._writer.stopped_at, "the end to be waited for")
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert ends == ["done"]
