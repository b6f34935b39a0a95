"""Receives the signals of imports, and decides where and when they are written to the database."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ..signals import import_finished, import_queued, import_started
from ..tracker.process_exit import wait_in_rq_job
from ..tracker.transactions import TransactionEnd, after_transactions
from .background import Task, background
from .events import Event, Kind, event_of
from .reports import save_report
from .rows import database, record

logger = logging.getLogger("django_import_progress")

BUSY_SECONDS = 0.2
"""How long an import waits for the lock of an SQLite database that another process holds."""


def connect() -> None:
    """Connect the receivers. Does nothing if they are connected."""
    for signal, receiver in RECEIVERS.items():
        signal.connect(receiver, dispatch_uid=__name__)


def disconnect() -> None:
    """Disconnect the receivers: nothing more is recorded."""
    for signal in RECEIVERS:
        signal.disconnect(dispatch_uid=__name__)


def note_queued(**arguments: Any) -> None:
    """Record that a job waits for a worker."""
    note(event_of(Kind.QUEUED, arguments))


def note_started(**arguments: Any) -> None:
    """Record that an attempt has begun."""
    note(event_of(Kind.STARTED, arguments))


def note_finished(**arguments: Any) -> None:
    """Record how an attempt has ended."""
    note(event_of(Kind.FINISHED, arguments))
    wait_in_rq_job()


RECEIVERS = {
    import_queued: note_queued,
    import_started: note_started,
    import_finished: note_finished,
}


def note(event: Event) -> None:
    """Record an event outside the import's transactions, without failing or slowing the import.

    PostgreSQL, MySQL and others are written in a thread with a connection of its own. SQLite has
    one writer: another connection would wait for the import's transaction, or make it fail. So it
    is written in this thread, after its transactions, and the report as well; only what cannot be
    written now is left to the thread. Inside Django's `TestCase` the test's own
    connection is used: no other one sees the test's data, and at its end all is rolled back.
    """
    connection = connections[database()]
    if _is_in_test(connection):
        _write_in_test(event)
    elif connection.vendor != "sqlite":
        _write_in_background(event)
    elif not after_transactions(partial(_write_after, event)):
        _write_here(event, connection)


def _is_in_test(connection: BaseDatabaseWrapper) -> bool:
    blocks = connection.atomic_blocks
    return bool(blocks) and getattr(blocks[0], "_from_testcase", False)


def _write_in_test(event: Event) -> None:
    if (report := _report_task(event, record(event))) is not None:
        try:
            report.run()
        except Exception:
            logger.exception("Cannot store the rejected rows of import %s", event.job_id)


def _write_in_background(event: Event) -> None:
    _add_to_background(event.job_id, partial(_write, event))


def _add_to_background(job_id: str, run: Callable[[], object]) -> None:
    background.add(Task(job_id, partial(_without_patience, run)))


def _without_patience(run: Callable[[], object]) -> None:
    """Write in the thread. On SQLite it does not wait for locks, but tries again later.

    A writer that waits for its commit makes transactions fail that have only read so far.

    Source: https://www.sqlite.org/lockingv3.html
    """
    connection = connections[database()]
    if connection.vendor == "sqlite":
        _set_patience(connection, 0)
    run()


def _write_after(event: Event, end: TransactionEnd) -> None:
    if end is not TransactionEnd.TEST_OVER:
        _write_here(event, connections[database()])


def _write_here(event: Event, connection: BaseDatabaseWrapper) -> None:
    """Write to SQLite now, unless another process has locked it."""
    was_open = connection.connection is not None
    try:
        with _little_patience(connection):
            pk = record(event)
    except Error:
        _write_in_background(event)
    else:
        _write_report_here(event, pk)
    finally:
        if not was_open:
            connection.close()


def _write_report_here(event: Event, pk: int) -> None:
    if (report := _report_task(event, pk)) is not None:
        try:
            report.run()
        except Exception:  # The thread tries again, and logs what is wrong.
            _add_to_background(report.job_id, report.run)


@contextmanager
def _little_patience(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Wait only briefly for the lock of an SQLite database.

    Source: https://www.sqlite.org/pragma.html#pragma_busy_timeout
    """
    seconds = connection.settings_dict["OPTIONS"].get("timeout", 5.0)
    _set_patience(connection, BUSY_SECONDS)
    try:
        yield
    finally:
        _set_patience(connection, seconds)


def _set_patience(connection: BaseDatabaseWrapper, seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")


def _write(event: Event) -> None:
    """Write the row; called in the background. A task of its own stores the report."""
    if (report := _report_task(event, record(event))) is not None:
        _add_to_background(report.job_id, report.run)


def _report_task(event: Event, pk: int) -> Task | None:
    """Return the task that stores the rejected rows of a run, if there are any."""
    report, rejected = event.report, event.snapshot.get("rejected_rows")
    if report is None or not rejected or event.kind is not Kind.FINISHED:
        return None
    return Task(event.job_id, lambda: save_report(pk, report(), database()))
