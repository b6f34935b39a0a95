"""The exceptions of this package: one tree under `ProgressError`."""

from __future__ import annotations


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


class OutsideOfTheWith(ProgressError, RuntimeError):
    """Rows were counted before the job was entered, or after it was left: nobody tells of them."""

    def __init__(self) -> None:
        super().__init__(
            "Rows are counted inside the `with` alone: put the loop into"
            " `with track_import(job_id) as job:`"
        )


class ImportCancelled(BaseException):
    """The import was asked to stop. Raised at a row's boundary, absorbed by `track_import`.

    No `Exception`, so that ``except Exception`` around a row does not swallow it.
    """


class ImportSuperseded(BaseException):
    """Another attempt has taken this one's job: raised out of the older attempt's `with`.

    No `Exception`, so that ``except Exception`` around a row does not swallow it.
    """
