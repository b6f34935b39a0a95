"""The worker's side: `track_import`, which reports a running import to Redis."""

from .tracker import ImportTracker, track_import

__all__ = ["ImportTracker", "track_import"]
