"""A client goes, and other code swallows the cancellation of its request: its stream still ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from django_import_progress import SyncProgressManager
from django_import_progress.access import Job
from django_import_progress.web import event_stream
from tests.kit.asgi import AsgiServer
from tests.kit.controls import without
from tests.kit.crowd import Stream, request
from tests.kit.observed import Observed
from tests.kit.processes import RedisProcess
from tests.kit.tracked import JOB
from tests.kit.waiting import until
from tests.site.asgi import application

PATH = f"/progress/jobs/{JOB}/stream/"


class Rule:
    """Allows everything, but its call number `slow` waits, and swallows its cancellation."""

    def __init__(self, slow: int) -> None:
        self.slow = slow
        self.calls = 0
        self.swallowed = 0

    async def __call__(self, user: object, job: Job, action: str) -> bool:
        """Let everybody watch."""
        self.calls += 1
        if self.calls == self.slow:
            with suppress(asyncio.CancelledError):
                await asyncio.get_running_loop().create_future()
            self.swallowed += 1
        return True


@pytest.fixture
def observed() -> Observed:
    return Observed(application)


@pytest.fixture
def web(site: RedisProcess, observed: Observed) -> Iterator[AsgiServer]:
    with AsgiServer(observed) as server:
        yield server


def believes_that_it_was_not_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "raise_if_cancelled", lambda: None)


@without(believes_that_it_was_not_cancelled)
async def test_a_stream_does_not_begin_once_its_client_has_gone(
    web: AsgiServer, observed: Observed, jobs: SyncProgressManager, settings: Any
) -> None:
    rule = Rule(slow=1)
    settings.IMPORT_PROGRESS |= {"AUTHORIZE": rule}
    jobs.create(JOB)
    _, writer = await asyncio.open_connection("127.0.0.1", web.port)
    writer.write(request(PATH).encode())
    await until(lambda: rule.calls, "the rule to be asked")
    writer.close()
    await until(lambda: rule.swallowed and not observed.requests, "the request to end")


@without(believes_that_it_was_not_cancelled)
async def test_a_stream_ends_whose_client_has_gone_during_a_check(
    web: AsgiServer, observed: Observed, jobs: SyncProgressManager, settings: Any
) -> None:
    rule = Rule(slow=2)
    settings.IMPORT_PROGRESS |= {"AUTHORIZE": rule, "HEARTBEAT_SECONDS": 0.1}
    jobs.create(JOB)
    async with await Stream.open(web.port, PATH):
        await until(lambda: rule.calls == rule.slow, "the rule to be asked again")
    await until(lambda: rule.swallowed and not observed.requests, "the request to end")
