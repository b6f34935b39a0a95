"""`import_finished`: sent in the worker when an attempt at an import is over."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from django.db import DatabaseError, connections, transaction
from django.dispatch import Signal

logger = logging.getLogger("django_import_progress")

import_finished = Signal()
"""Sent once an attempt's end, by the thread that imports, whether Redis is there or not.

``done`` is sent when it is published: after the commit, where the import is part of a transaction.
If that is rolled back, ``failed`` is sent. An attempt that another one has superseded, or whose job
was deleted or ended by other code, sends nothing, and neither does a process that is killed.
What a receiver raises is logged, under ``django.dispatch``, and changes nothing of the import.

The sender is `ImportTracker`. A receiver is called with:

Args:
    job_id (str): the job.
    namespace (str): the job's.
    owner (str | None): its owner's primary key.
    status (str): ``done``, ``failed`` or ``cancelled``; ``queued`` where Celery tries again.
    snapshot (dict): its fields, without those of the rate.
    attempt (int | None): which attempt it was, from 1; None where Redis was never there.
    error (BaseException | None): what the import raised.
"""


def send(sender: type[Any], news: dict[str, Any]) -> None:
    """Send `import_finished`; from code without an event loop."""
    with _or_log(news["job_id"]), _savepoints():
        import_finished.send_robust(sender, **news)


async def send_in_loop(sender: type[Any], news: dict[str, Any]) -> None:
    """Do the same in an event loop: receivers that are no coroutines run in Django's thread."""
    with _or_log(news["job_id"]):
        await import_finished.asend_robust(sender, **news)


@contextmanager
def _or_log(job_id: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        logger.exception("Not all were told that import %s has finished", job_id)


@contextmanager
def _savepoints() -> Iterator[None]:
    """Have what fails in the database roll back no transaction that the import is part of."""
    with ExitStack() as stack:
        for connection in connections.all(initialized_only=True):
            if connection.in_atomic_block:
                with suppress(DatabaseError):  # It is broken by the import itself.
                    stack.enter_context(transaction.atomic(using=connection.alias))
        yield
