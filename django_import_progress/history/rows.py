"""Writes the rows of `ImportRun`: one for each attempt, whatever order its events come in."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, DataError, IntegrityError, router, transaction
from django.db.models import Max

from ..core.outcome import PreviousRun
from ..core.snapshot import RATES
from .events import PRESUMED, Event, Kind
from .models import ENDED, ImportRun, ImportRunQuerySet, Status
from .values import columns_of, for_database, moment_of

TRIES = 10
"""How often a row is written if other processes write the same one."""
SKEW = timedelta(seconds=10)
"""How far the clocks of machines may differ."""
LARGEST_ATTEMPT = 10**9
_WRONG_CHARACTER = 1366
"""The error of MySQL and MariaDB for a character that the column cannot contain. Source:
https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html"""


def database() -> str:
    """Return the alias of the database to which runs are written."""
    return router.db_for_write(ImportRun)


def record(event: Event) -> int:
    """Record an event; return the primary key of the row. It may be recorded more than once.

    Raises:
        DatabaseError: the database is unavailable, locked, or has no such table.
    """
    try:
        return _repeat(Rows(event))
    except DatabaseError as error:
        if not isinstance(error, DataError) and _WRONG_CHARACTER not in error.args:
            raise
    return _repeat(Rows(event, is_plain=True))


def _repeat(rows: Rows) -> int:
    for _ in range(TRIES):
        try:
            with transaction.atomic(using=rows.using):
                return rows.record()
        except IntegrityError as error:  # Another process has inserted the same row.
            collision = error
    raise collision


class Rows:
    """The rows of one job, and what an event changes in them.

    Args:
        event: the event.
        is_plain: see `columns_of`.
    """

    def __init__(self, event: Event, *, is_plain: bool = False) -> None:
        self.using = database()
        self._event = event
        self._is_plain = is_plain

    @property
    def _of_job(self) -> ImportRunQuerySet:
        event = self._event
        runs = ImportRun.objects.using(self.using)
        return runs.filter(namespace=event.namespace, job_id=event.job_id)

    def record(self) -> int:
        """Write the event's rows; return the primary key of the event's own."""
        if self._event.previous is not None:
            Rows(self._as_event(self._event.previous), is_plain=self._is_plain).record()
        if self._event.kind is Kind.QUEUED:
            return self._queue()
        return self._start() if self._event.kind is Kind.STARTED else self._finish()

    def _as_event(self, previous: PreviousRun) -> Event:
        # If it was to be continued it has reported that itself, unless its worker was lost.
        status = Status.LOST if previous.status == Status.QUEUED else previous.status
        fields = {name: v for name, v in previous.snapshot.items() if name not in RATES}
        return dataclasses.replace(
            self._event,
            kind=Kind.FINISHED,
            status=status,
            snapshot=fields,
            attempt=previous.attempt,
            run_id=previous.run_id,
            previous=None,
        )

    def _queue(self) -> int:
        event, queued_at = self._event, for_database(self._event.at)
        # The worker may have been faster than the process that queued the job.
        since = for_database(event.at - SKEW)
        begun = self._of_job.filter(queued_at=None).exclude(started_at__lt=since)
        known = begun.order_by("attempt").first()
        known = known or self._of_job.filter(status=Status.QUEUED).first()
        if known is not None:
            self._of_job.filter(pk=known.pk, queued_at=None).update(queued_at=queued_at)
            return int(known.pk)
        return self._create(status=Status.QUEUED, queued_at=queued_at, **self._columns())

    def _start(self) -> int:
        pk = self._row()
        values = {"status": Status.RUNNING, "missing_since": None, **self._columns()}
        self._of_job.filter(pk=pk).exclude(status__in=ENDED).update(**values)
        return pk

    def _finish(self) -> int:
        event = self._event
        pk = self._row()
        kept = ENDED if event.is_presumed else ENDED - PRESUMED
        ended_at = moment_of(event.snapshot.get("ended_at")) or event.at
        values = self._columns()
        values["error_message"] = values.get("error_message") or event.note
        self._of_job.filter(pk=pk).exclude(status__in=kept).update(
            **values,
            status=event.final_status,
            ended_at=for_database(ended_at),
            missing_since=None,
        )
        return pk

    def _row(self) -> int:
        """Return the row of the event's attempt: its own, the job's queued one, or a new one."""
        event = self._event
        own = self._of_job.filter(run_id=event.run_id).first() if event.run_id else None
        row = own or self._queued_row()
        if row is None:
            return self._create(run_id=event.run_id, status=Status.RUNNING, **self._columns())
        if own is not None:
            return int(own.pk)
        number = self._free_number() if event.attempt and event.attempt > row.attempt else None
        taken = self._of_job.filter(pk=row.pk, run_id=None).update(
            run_id=event.run_id, attempt=number or row.attempt
        )
        return int(row.pk) if taken else self._row()

    def _queued_row(self) -> ImportRun | None:
        """Return the row of the job that was queued before this attempt began."""
        queued = self._of_job.filter(run_id=None, status=Status.QUEUED)
        started_at = moment_of(self._event.snapshot.get("started_at"))
        if started_at is not None:
            queued = queued.exclude(queued_at__gt=for_database(started_at + SKEW))
        return queued.order_by("attempt").first()

    def _create(self, **values: Any) -> int:
        event = self._event
        row = ImportRun.objects.using(self.using).create(
            job_id=event.job_id,
            namespace=event.namespace,
            attempt=self._free_number(),
            **values,
        )
        return int(row.pk)

    def _free_number(self) -> int:
        """Return the attempt's number, or the next one if another attempt has it.

        Redis counts from 1 again if it was emptied.
        """
        number = self._event.attempt or 0
        if 0 < number <= LARGEST_ATTEMPT and not self._of_job.filter(attempt=number).exists():
            return number
        return (self._of_job.aggregate(last=Max("attempt"))["last"] or 0) + 1

    def _columns(self) -> dict[str, Any]:
        """Return the columns that the event's fields set; none if they are not known."""
        event = self._event
        if not event.snapshot:
            return {}
        started_at = moment_of(event.snapshot.get("started_at"))
        if event.kind is Kind.QUEUED:
            times: dict[str, Any] = {}
        elif event.kind is Kind.STARTED:
            times = {"started_at": for_database(started_at or event.at)}
        else:
            times = {"started_at": for_database(started_at)} if started_at else {}
        owner = {"owner": event.owner} if event.owner else {}
        return {**columns_of(event.snapshot, is_plain=self._is_plain), **times, **owner}
