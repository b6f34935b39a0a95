"""What has happened in this process since it began: plain numbers, for whoever measures."""

from __future__ import annotations


class ProcessMetrics:
    """Counts; each only grows."""

    __slots__ = ("connections_lost", "events", "resyncs")

    def __init__(self) -> None:
        self.events = 0
        """States that watchers have taken, to send them or to yield them."""
        self.connections_lost = 0
        """How often a subscription to Redis was lost."""
        self.resyncs = 0
        """Reads that found what no message had told."""


process_metrics = ProcessMetrics()
