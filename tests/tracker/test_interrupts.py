"""An import that is through has ended so, though whoever waits for its end is interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.signals import import_finished
from django_import_progress.tracker import writer

from ..kit.processes import RedisProcess
from ..kit.tracked import JOB, state
from ..kit.waiting import until
from ..site import tasks


@pytest.fixture
def ends(site: RedisProcess) -> Iterator[list[str]]:
    """How the attempts have ended of which receivers were told."""
    told: list[str] = []

    def receive(*, status: str, **_: Any) -> None:
        told.append(status)

    import_finished.connect(receive)
    yield told
    import_finished.disconnect(receive)


@pytest.fixture
def interrupted() -> Iterator[None]:
    """Have the first who waits for the end be interrupted, as by Ctrl-C."""

    def interrupt(_: object) -> None:
        context.undo()
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as context:
        context.setattr(writer.Writer, "wait_until_ended", interrupt)
        context.setattr(writer.Writer, "wait_until_flushed", interrupt)
        yield


@pytest.mark.usefixtures("interrupted")
def test_receivers_are_told_all_the_same(ends: list[str]) -> None:
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
def test_in_a_transaction_the_end_is_told_after_the_commit(
    jobs: SyncProgressManager, ends: list[str]
) -> None:
    with transaction.atomic():
        with pytest.raises(KeyboardInterrupt), track_import(JOB):
            pass
        assert ends == []
    assert ends == ["done"]
    assert state(jobs)["status"] == "done"


async def test_cancelled_meanwhile_receivers_are_told_as_well(
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
