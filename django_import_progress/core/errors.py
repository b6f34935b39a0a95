"""The exceptions of this package: one tree under `ProgressError`."""

from __future__ import annotations

from typing import Any


class ProgressError(Exception):
    """Base of every error that this package raises."""


class InvalidJobId(ProgressError, ValueError):
    """The job id is not a UUID or a `str` of 1 to 128 of ``A-Z a-z 0-9 . _ : ~ -``."""


class InvalidProgress(ProgressError, ValueError):
    """What was to be written cannot be a snapshot; nothing was written."""


class JobExists(ProgressError):
    """`create` was given the id of a job that is there already."""


class JobNotFound(ProgressError):
    """There is no such job: it was never made, has expired, or was deleted."""


class JobFinished(ProgressError):
    """The job has ended: `done`, `failed` and `cancelled` take no more updates."""


class ProgressUnavailable(ProgressError):
    """Redis is out of reach, or refuses to serve; the cause is chained."""


class NotTracking(ProgressError, RuntimeError):
    """A tracker was used outside its `with` block, or in another process than the one that entered.

    Nothing would report what is counted there.
    """

    def __init__(self) -> None:
        super().__init__(
            "Rows can only be counted inside the `with track_import(job_id) as job:` block, and in"
            " the process that entered it"
        )


OutsideOfTheWith = NotTracking
"""Its earlier name."""


class StopsALoop(BaseException):
    """What a tracker raises to stop its loop.

    No `Exception`, so that ``except Exception`` around a row does not swallow it.
    """

    tracker: object = None
    """The tracker whose loop it stops. None if it was raised by other code: then it belongs to the
    innermost `with` block."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args  # A tracker cannot be pickled.


class ImportCancelled(StopsALoop):
    """Cancellation was requested. Raised after a row, absorbed by the `with` block of its tracker.

    No `Exception`, so that ``except Exception`` around a row does not swallow it.
    """


class ImportSuperseded(StopsALoop):
    """The job is no longer this attempt's; raised out of its `with` block.

    Another attempt has taken it over, or it was deleted or ended by other code; the message says
    which. No `Exception`, so that ``except Exception`` around a row does not swallow it.
    """
