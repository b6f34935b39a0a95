"""The signals of an attempt at an import: it was queued, it has started, it is over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from django.db import DatabaseError, connections, transaction
from django.dispatch import Signal

logger = logging.getLogger("django_import_progress")

SIGNALS = import_queued, import_started, import_finished = Signal(), Signal(), Signal()
"""`import_queued` is sent by `create()` of both managers, and when a task queue takes a job again
that had ended. `import_started` is sent in the thread of the import, before its first row.

`import_finished` is sent once per attempt, in the thread of the import, even if Redis is
unavailable. ``done`` is sent when it is published: inside a database transaction, after the commit.
If the transaction is rolled back, ``failed`` is sent. Nothing is sent for an attempt whose worker
was alive when another one took the job, or whose job was deleted or ended by other code. If the
worker has died, ``lost`` is sent by the process that notices it first, which may be a web process.

Exceptions of receivers are logged under ``django.dispatch`` and do not affect the import.

The sender is `ImportTracker`, or `ProgressManager` of `import_queued`. Receivers get these
arguments:

Args:
    job_id (str): the job.
    namespace (str): the job's namespace.
    owner (str | None): the owner's primary key.
    status (str): ``queued``; ``importing``; ``done``, ``failed``, ``cancelled`` or ``lost``,
        ``interrupted`` if the import continues shortly, and ``queued`` if Celery retries the task.
    snapshot (dict): the job's fields, without the rates.
    attempt (int | None): the number of the attempt, from 1; None if Redis was never available, or
        no attempt has begun.
    error (BaseException | None): the exception that the import raised.
    run_id (str | None): identifies the attempt, also if Redis is unavailable; None if no attempt
        has begun.
    previous (PreviousRun | None): the attempt from which this one has taken the job.
    report (Callable[[], Report]): returns the rejected rows of the attempt.
"""

_NAMES = dict(zip(SIGNALS, ("import_queued", "import_started", "import_finished"), strict=True))


def arguments_of(**given: Any) -> dict[str, Any]:
    """Return the arguments of a signal; those that are not given are None."""
    names = "job_id namespace owner status snapshot attempt error run_id previous report"
    return {**dict.fromkeys(names.split()), **given}


def send(signal: Signal, sender: type[Any], arguments: dict[str, Any]) -> None:
    """Send a signal from synchronous code."""
    with _log_errors(signal, arguments["job_id"]), _savepoints():
        signal.send_robust(sender, **arguments)


async def send_async(signal: Signal, sender: type[Any], arguments: dict[str, Any]) -> None:
    """Send a signal in an event loop; sync receivers run in Django's thread."""
    with _log_errors(signal, arguments["job_id"]):
        await signal.asend_robust(sender, **arguments)


Send = Callable[[Signal, type[Any], dict[str, Any]], Any]
"""`send`, or `send_async`."""


@contextmanager
def _log_errors(signal: Signal, job_id: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        logger.exception(
            "Not all receivers of %s were called for import %s", _NAMES[signal], job_id
        )


@contextmanager
def _savepoints() -> Iterator[None]:
    """Protect the import's transactions: a database error in a receiver rolls back a savepoint."""
    with ExitStack() as stack:
        for connection in connections.all(initialized_only=True):
            if connection.in_atomic_block:
                with suppress(DatabaseError):  # The import itself has broken the transaction.
                    stack.enter_context(transaction.atomic(using=connection.alias))
        yield
