"""What this process serves and imports, for Prometheus: ``REGISTRY.register(ProgressCollector())``.

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
    """Looks when it is asked, and so costs nothing meanwhile."""

    def collect(self) -> Iterator[Metric]:
        """Yield each metric as it is now."""
        watched = [hub.watched() for hub in open_hubs()]
        lags = [writer.lag_seconds for writer in writers()]
        for name, what, value in (
            ("streams", "Event streams and WebSockets that are open", len(open_streams)),
            ("watchers", "Who watches a job", sum(one.watchers for one in watched)),
            ("watched_jobs", "Jobs that are watched", sum(one.jobs for one in watched)),
            (
                "stalled_jobs",
                "Watched jobs whose worker is overdue",
                sum(one.stalled for one in watched),
            ),
            ("imports", "Imports that run here, or whose end is not told yet", len(lags)),
            (
                "writer_lag_seconds",
                "For how long Redis may not have all of an import that runs here, at most",
                max(lags, default=0),
            ),
        ):
            yield GaugeMetricFamily(f"{PREFIX}_{name}", what, value=value)
        for name, what, value in (
            ("events", "States that watchers have taken", process_metrics.events),
            ("resyncs", "Reads that found what no message had told", process_metrics.resyncs),
            (
                "connections_lost",
                "Subscriptions to Redis that were lost",
                process_metrics.connections_lost,
            ),
        ):
            yield CounterMetricFamily(f"{PREFIX}_{name}", what, value=value)
