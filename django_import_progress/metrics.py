"""Counters of this process, for `contrib.prometheus`: a module, since any layer may count."""

from __future__ import annotations


class ProcessMetrics:
    """Counters since the process started; they never decrease."""

    __slots__ = ("connections_lost", "events", "resyncs")

    def __init__(self) -> None:
        self.events = 0
        """Updates delivered to watchers."""
        self.connections_lost = 0
        """Lost subscriptions to Redis."""
        self.resyncs = 0
        """Reads that found a change which no message had announced."""


process_metrics = ProcessMetrics()
