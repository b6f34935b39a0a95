"""Live, reliable progress bars for long-running imports in Django."""

from __future__ import annotations

from .core.errors import (
    HistoryUnavailable,
    ImportCancelled,
    ImportFailed,
    ImportSuperseded,
    InvalidJobId,
    InvalidProgress,
    JobExists,
    JobFinished,
    JobNotFound,
    NotTracking,
    OutsideOfTheWith,
    ProgressError,
    ProgressUnavailable,
    TooManyRejects,
)
from .redis.embedded import embedded_url
from .redis.factory import create_redis_client, create_sync_redis_client
from .representation import Representation
from .service.manager import ProgressManager
from .service.registry import get_progress_manager, get_sync_progress_manager
from .service.sync_manager import SyncProgressManager
from .tracker.tracker import track_import
from .version import __version__

__all__ = [
    "HistoryUnavailable",
    "ImportCancelled",
    "ImportFailed",
    "ImportSuperseded",
    "InvalidJobId",
    "InvalidProgress",
    "JobExists",
    "JobFinished",
    "JobNotFound",
    "NotTracking",
    "OutsideOfTheWith",
    "ProgressError",
    "ProgressManager",
    "ProgressUnavailable",
    "Representation",
    "SyncProgressManager",
    "TooManyRejects",
    "__version__",
    "create_redis_client",
    "create_sync_redis_client",
    "embedded_url",
    "get_progress_manager",
    "get_sync_progress_manager",
    "track_import",
]
