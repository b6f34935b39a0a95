"""Prometheus metrics of this process: ``REGISTRY.register(ProgressCollector())``.

Source: https://prometheus.github.io/client_python/collector/custom
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..metrics import process_metrics
from ..service.registry import open_hubs
from ..tracker.writer import writers
from ..web.limits import open_streams

PREFIX = "import_progress"


class ProgressCollector(Collector):
    """Collects the metrics when they are scraped; costs nothing in between."""

    def collect(self) -> Iterator[Metric]:
        """Yield the current value of each metric."""
        watched = [hub.watched() for hub in open_hubs()]
        lags = [writer.lag_seconds for writer in writers()]
        for name, description, value in (
            ("streams", "Open event streams and WebSockets", len(open_streams)),
            ("watchers", "Watchers of jobs", sum(one.watchers for one in watched)),
            ("watched_jobs", "Watched jobs", sum(one.jobs for one in watched)),
            (
                "stalled_jobs",
                "Watched jobs whose worker is overdue",
                sum(one.stalled for one in watched),
            ),
            (
                "imports",
                "Running imports, and those whose final status is not saved yet",
                len(lags),
            ),
            (
                "writer_lag_seconds",
                "Age of the oldest progress that Redis may lack, over all running imports",
                max(lags, default=0),
            ),
        ):
            yield GaugeMetricFamily(f"{PREFIX}_{name}", description, value=value)
        for name, description, value in (
            ("events", "Updates delivered to watchers", process_metrics.events),
            ("resyncs", "Reads that found an undelivered state", process_metrics.resyncs),
            ("connections_lost", "Lost subscriptions to Redis", process_metrics.connections_lost),
        ):
            yield CounterMetricFamily(f"{PREFIX}_{name}", description, value=value)
