"""The metrics that Prometheus reads, by its own library."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.access import make_ticket
from django_import_progress.contrib.prometheus import ProgressCollector
from django_import_progress.tracker.writer import Writer
from tests.kit.asgi import AsgiServer
from tests.kit.controls import without
from tests.kit.lone import LoneWorker
from tests.kit.processes import RedisProcess
from tests.kit.sse import open_stream
from tests.kit.tracked import JOB
from tests.kit.waiting import wait_for

from ..faults.conftest import defence

__all__ = ["defence"]

LAG = "writer_lag_seconds"


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=True)
    registry.register(ProgressCollector())
    return registry


def scraped(registry: CollectorRegistry) -> dict[str, float]:
    """Return the metrics that Prometheus would read."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    prefix = "import_progress_"
    return {
        sample.name.removeprefix(prefix): sample.value
        for family in families
        for sample in family.samples
    }


def test_gauges_and_counters(
    live: AsgiServer, jobs: SyncProgressManager, registry: CollectorRegistry, foreign: redis.Redis
) -> None:
    wait_for(lambda: not scraped(registry)["streams"], "the streams of other tests to go")
    before = scraped(registry)
    jobs.create("a")
    query = "&".join(f"job={make_ticket(job_id)}" for job_id in "ab")
    with open_stream(f"{live.url}/progress/stream/?{query}") as (_, events):
        next(events)
        now = scraped(registry)
        assert now["streams"] - before["streams"] == 1
        assert now["watchers"] - before["watchers"] == 2
        assert now["watched_jobs"] - before["watched_jobs"] == 2
        assert now["events_total"] - before["events_total"] == 1
        jobs.set_progress("a", {"n": 1})  # Told to nobody.
        foreign.client_kill_filter(_type="pubsub")
        assert next(events).json["n"] == 1
        now = scraped(registry)
        assert now["connections_lost_total"] > before["connections_lost_total"]
        assert now["resyncs_total"] > before["resyncs_total"]


def test_a_job_whose_worker_is_lost(
    live: AsgiServer, site: RedisProcess, registry: CollectorRegistry
) -> None:
    before = scraped(registry)["stalled_jobs"]
    with LoneWorker(site.url, STALLED_AFTER_SECONDS=1) as worker:
        worker.has_entered()
        with open_stream(f"{live.url}/progress/jobs/{make_ticket(JOB)}/stream/") as (_, events):
            assert not next(events).json["stalled"]
            worker.kill()
            assert next(events).json["stalled"]
            assert scraped(registry)["stalled_jobs"] - before == 1


def a_failed_try_counts_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = Writer._failed

    def counts(writer: Writer, *what: Any) -> None:
        writer._reported_at = time.monotonic()
        failed(writer, *what)

    monkeypatch.setattr(Writer, "_failed", counts)


@pytest.mark.usefixtures("jobs")
@without(a_failed_try_counts_as_well)
def test_a_writer_lags_until_redis_has_the_final_status(
    site: RedisProcess, registry: CollectorRegistry
) -> None:
    wait_for(lambda: not scraped(registry)["imports"], "the imports of other tests to end")
    assert scraped(registry)[LAG] == 0
    with track_import(JOB) as job:
        job.advance()
        wait_for(lambda: scraped(registry)["imports"] == 1, "the import to be counted")
        with site.frozen():
            wait_for(lambda: scraped(registry)[LAG] > 4, "the writer to lag behind", seconds=8)
        wait_for(lambda: scraped(registry)[LAG] < 1, "the writer to catch up")
        site.kill()
        wait_for(lambda: scraped(registry)[LAG] > 1, "the writer to fall behind once more")
    assert scraped(registry)["imports"] == 1  # Its end is tried beside.
    site.start()
    wait_for(lambda: not scraped(registry)["imports"], "the end to be told")
    assert scraped(registry)[LAG] == 0
