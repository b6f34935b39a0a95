"""The signal `import_finished`, sent in the worker when an attempt is over."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from django.db import DatabaseError, connections, transaction
from django.dispatch import Signal

logger = logging.getLogger("django_import_progress")

import_finished = Signal()
"""Sent once per attempt, in the thread of the import, even if Redis is unavailable.

``done`` is sent when it is published: inside a database transaction, after the commit. If the
transaction is rolled back, ``failed`` is sent. Nothing is sent for an attempt that was superseded,
whose job was deleted or ended by other code, or whose process was killed. Exceptions of receivers
are logged under ``django.dispatch`` and do not affect the import.

The sender is `ImportTracker`. Receivers get these arguments:

Args:
    job_id (str): the job.
    namespace (str): the job's namespace.
    owner (str | None): the owner's primary key.
    status (str): ``done``, ``failed`` or ``cancelled``; ``queued`` if Celery retries the task.
    snapshot (dict): the job's fields, without the rates.
    attempt (int | None): the number of the attempt, from 1; None if Redis was never available.
    error (BaseException | None): the exception that the import raised.
"""


def send(sender: type[Any], arguments: dict[str, Any]) -> None:
    """Send `import_finished` from synchronous code."""
    with _log_errors(arguments["job_id"]), _savepoints():
        import_finished.send_robust(sender, **arguments)


async def send_async(sender: type[Any], arguments: dict[str, Any]) -> None:
    """Send `import_finished` in an event loop; sync receivers run in Django's thread."""
    with _log_errors(arguments["job_id"]):
        await import_finished.asend_robust(sender, **arguments)


@contextmanager
def _log_errors(job_id: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        logger.exception("Not all receivers of import_finished were called for import %s", job_id)


@contextmanager
def _savepoints() -> Iterator[None]:
    """Protect the import's transactions: a database error in a receiver rolls back a savepoint."""
    with ExitStack() as stack:
        for connection in connections.all(initialized_only=True):
            if connection.in_atomic_block:
                with suppress(DatabaseError):  # The import itself has broken the transaction.
                    stack.enter_context(transaction.atomic(using=connection.alias))
        yield
