"""The exceptions of this package. All errors are subclasses of `ProgressError`."""

from __future__ import annotations

from typing import Any


class ProgressError(Exception):
    """Base of every error that this package raises."""


class InvalidJobId(ProgressError, ValueError):
    """The job id is not a UUID or a `str` of 1 to 128 of ``A-Z a-z 0-9 . _ : ~ -``."""


class InvalidProgress(ProgressError, ValueError):
    """The data is not a valid snapshot; nothing was written."""


class JobExists(ProgressError):
    """`create` was called with the id of an existing job."""


class JobNotFound(ProgressError):
    """The job does not exist: it was never created, has expired, or was deleted."""


class JobFinished(ProgressError):
    """The job has ended: `done`, `failed` and `cancelled` jobs accept no updates."""


class ProgressUnavailable(ProgressError):
    """Redis cannot be reached or refuses to serve; the cause is chained."""


class HistoryUnavailable(ProgressUnavailable):
    """The history's database cannot be reached, and Redis does not have the job."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.read: dict[str, Any] = {}
        """What Redis knows of the jobs that were requested, by job id."""


class NotTracking(ProgressError, RuntimeError):
    """A tracker was used outside its `with` block, or not in the process that entered the block.

    Rows that are counted there would not be reported.
    """

    def __init__(self) -> None:
        super().__init__(
            "Rows can only be counted inside the `with track_import(job_id) as job:` block, and in"
            " the process that entered it"
        )


class TooManyRejects(ProgressError):
    """More rows were rejected than `max_rejects` allows; raised out of the `with` block."""


OutsideOfTheWith = NotTracking
"""Its earlier name."""


class StopsALoop(BaseException):
    """Base of what a tracker raises to stop the loop over its rows.

    A `BaseException`, so that ``except Exception`` around a row does not catch it.
    """

    tracker: object = None
    """The tracker whose loop it stops. None if other code raised it: then it belongs to the
    innermost `with` block."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args  # A tracker cannot be pickled.


class ImportCancelled(StopsALoop):
    """Cancellation was requested. Raised after a row, absorbed by the `with` block of its tracker.

    A `BaseException`, so that ``except Exception`` around a row does not catch it.
    """


class ImportFailed(StopsALoop):
    """`fail()` was called on a tracker. Absorbed by its `with` block; the job ends ``failed``.

    A `BaseException`, so that ``except Exception`` around a row does not catch it.
    """


class ImportSuperseded(StopsALoop):
    """This attempt has lost its job; raised out of its `with` block.

    Another attempt has taken the job over, or other code has deleted or ended it; the message says
    which. A `BaseException`, so that ``except Exception`` around a row does not catch it.
    """
