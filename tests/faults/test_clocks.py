"""A worker that was killed is missed in time, though Redis's clock is set back."""

from __future__ import annotations

from typing import Any

import pytest

from django_import_progress import (
    SyncProgressManager,
    get_progress_manager,
    heartbeats,
    track_import,
)
from django_import_progress.core import scripts
from tests.kit.controls import without
from tests.kit.lone import LoneWorker
from tests.kit.processes import RedisProcess
from tests.kit.stalling import becomes
from tests.kit.waiting import until

from . import naive

STALLED_AFTER_SECONDS = 3.0
"""Long enough to set the clock back before it is over."""
JOB = "job"


def _set_back_by_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Redis's clock be slow from now on, as its readers see it."""
    old = "string.format('%d%06d', t[1], t[2])"
    new = "string.format('%d%06d', t[1] - 600, t[2])"
    for name in ("READ", "CHECK", "BEGIN", "WRITE"):
        naive.edit(monkeypatch, name, (old, new))
    monkeypatch.setattr(heartbeats, "CHECK", scripts.CHECK)


@without(naive.believes_the_servers_clock, fails_with=(TimeoutError,))
async def test_the_readers_own_clock_bounds_it(
    jobs: SyncProgressManager,
    site: RedisProcess,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"STALLED_AFTER_SECONDS": STALLED_AFTER_SECONDS}
    settings.IMPORT_PROGRESS = {"REDIS_URL": site.url, "HEARTBEAT_SECONDS": 1, **options}
    watcher = get_progress_manager().watcher(JOB)
    view = watcher._slot.view
    with LoneWorker(site.url, **options) as worker:
        worker.has_entered()
        await becomes(watcher, stalled=False)
        worker.kill()
        await until(lambda: 0 < view._lease == view._stored.lease, "it to be noted")
        _set_back_by_ten_minutes(monkeypatch)
        shown = await becomes(watcher, stalled=True)
        assert not shown.ended
        with track_import(JOB):  # By the slow clock as well: another lease.
            await becomes(watcher, stalled=False)
    watcher.close()
