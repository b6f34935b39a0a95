"""What is shown of a job that Redis has forgotten: the last attempt at it in the history.

This is the `Archive` of the history app. Every page, endpoint and command reads through it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from datetime import UTC, datetime
from functools import partial
from typing import IO, Any, TypeVar

from django.db import connections
from django.db.models import Exists, OuterRef
from django.utils.timezone import is_naive, make_aware

from ..core.errors import HistoryUnavailable
from ..core.snapshot import Fields, Stored, is_terminal
from ..watch.archive import Read, is_forgotten
from .models import ImportRun, ImportRunQuerySet, Status

logger = logging.getLogger("django_import_progress")

T = TypeVar("T")

AT_ONCE = 500
"""How many jobs one query looks up: databases limit the parameters of a query."""
SAME_SECONDS = 2
"""How far two records of one time may be apart: Redis's keeps whole seconds."""
STATUSES: dict[str, str] = {status: status for status in Status} | {Status.LOST: "failed"}
"""The status that is shown for a run's."""
RUNNING = "importing"
"""The same for a run that has not ended, unless its snapshot has one."""
_outage: set[bool] = set()
"""Not empty since the last query has failed."""


def last_runs(namespace: str, read: Read) -> dict[str, Stored]:
    """Return those of the jobs that the history knows, as they are to be shown.

    Args:
        namespace: the jobs' namespace.
        read: what Redis knows of the jobs, by id: nothing, or the outcome.

    Raises:
        HistoryUnavailable: the database cannot be reached.
    """
    ids = list(read)
    found = {}
    for start in range(0, len(ids), AT_ONCE):
        chunk = _last(namespace).filter(job_id__in=ids[start : start + AT_ONCE])
        for run in _fetch(partial(list[ImportRun], chunk)):
            found[str(run.job_id)] = shown(run, read[str(run.job_id)])
    return found


def newest(namespace: str, owner: str | None, limit: int) -> dict[str, Stored]:
    """Return the newest jobs that the history knows, newest first.

    Args:
        namespace: the jobs' namespace.
        owner: only this owner's jobs; None: all.
        limit: the maximum number of jobs.

    Raises:
        HistoryUnavailable: the database cannot be reached.
    """
    runs = _last(namespace) if owner is None else _last(namespace).filter(owner=owner)
    found = _fetch(partial(list[ImportRun], runs.order_by("-pk")[:limit]))
    return {str(run.job_id): shown(run) for run in found}


def merged(jobs: Read, runs: Mapping[str, Stored], limit: int) -> dict[str, Stored]:
    """Return the newest of the jobs that Redis and the history know, newest first.

    Args:
        jobs: what Redis knows of the jobs, by id. A job that was deleted is left out.
        runs: what the history knows.
        limit: the maximum number of jobs.
    """
    found = {}
    for job_id in [*jobs, *(job_id for job_id in runs if job_id not in jobs)]:
        stored, run = jobs.get(job_id), runs.get(job_id)
        job = _either(stored, run) if is_forgotten(stored) else stored
        if job is not None and not job.deleted:
            found[job_id] = job
    newest_first = sorted(found.items(), key=lambda item: -_created(item[1]))
    return dict(newest_first[:limit])


def report(namespace: str, job_id: str, attempt: int | None) -> IO[Any] | None:
    """Open the report of rejected rows of an attempt; None if there is none, or its file is gone.

    Args:
        namespace: the job's namespace.
        job_id: the job.
        attempt: the number of the attempt; None: the last one.

    Raises:
        HistoryUnavailable: the database or the storage cannot be reached.
    """
    runs = _last(namespace) if attempt is None else _of(namespace).filter(attempt=attempt)
    for run in _fetch(partial(list[ImportRun], runs.filter(job_id=job_id))):
        if run.report:
            with _errors(), _none_if_missing():
                return run.report.open("rb")
    return None


@contextmanager
def _none_if_missing() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        logger.warning("A report of rejected rows is missing in the storage: %s", error)


def _of(namespace: str) -> ImportRunQuerySet:
    return ImportRun.objects.filter(namespace=namespace)


def _last(namespace: str) -> ImportRunQuerySet:
    """Return the last attempt at each job. The unique index finds a later one."""
    later = _of(namespace).filter(job_id=OuterRef("job_id"), attempt__gt=OuterRef("attempt"))
    return _of(namespace).filter(~Exists(later))


def shown(run: ImportRun, record: Stored | None = None) -> Stored:
    """Return a run as a stored job.

    Args:
        run: the last attempt at the job.
        record: the outcome that Redis remembers, if any.
    """
    stored = Stored(
        fields=_fields(run), life=0, version=run.pk, owner=run.owner, expired=True, archived=True
    )
    return _either(record, stored) or stored


def _either(record: Stored | None, run: Stored | None) -> Stored | None:
    """Return the run under the version of the record, if both are of the same end.

    Otherwise the record: then the end could not be written to the database.
    """
    if record is None or run is None:
        return record or run
    same_status = record.fields["status"] == run.fields["status"]
    starts = [_moment(stored.fields.get("started_at")) for stored in (record, run)]
    if not same_status or abs(starts[0] - starts[1]) > SAME_SECONDS:
        return record
    return dataclasses.replace(
        run, life=record.life, version=record.version, read_at=record.read_at
    )


def _fields(run: ImportRun) -> Fields:
    """Return the fields of a run's snapshot, corrected by its columns.

    Columns may be cut, so a text of the snapshot comes first.
    """
    texts = {"label": run.label, "kind": run.kind, "stage": run.stage}
    fields: Fields = {name: text for name, text in texts.items() if text}
    fields |= run.counters | run.snapshot
    fields |= {
        "status": _status(run),
        "total_rows": run.total_rows,
        "processed_rows": run.processed_rows,
        "error_message": run.error_message or None,
        "expired": True,
        "has_report": bool(run.report),
    }
    if run.status != Status.QUEUED:
        fields["attempt"] = run.attempt
    if run.rejected_rows:
        fields["rejected_rows"] = run.rejected_rows
    for name in ("queued_at", "started_at", "ended_at"):
        fields[name] = _text(getattr(run, name))
    return fields


def _status(run: ImportRun) -> str:
    if run.status not in {Status.RUNNING, Status.SUPERSEDED}:
        return STATUSES[run.status]
    # The attempt that superseded it is not in the database: the import goes on, as far as is known.
    status = run.snapshot.get("status")
    is_running = isinstance(status, str) and not is_terminal(run.snapshot) and status != "queued"
    return status if is_running else RUNNING


def _text(time: datetime | None) -> str | None:
    """Return a time as snapshots have it."""
    if time is None:
        return None
    return (make_aware(time) if is_naive(time) else time).astimezone(UTC).isoformat()


def _moment(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def _created(stored: Stored) -> float:
    """Return when a job was created, in seconds."""
    if stored.life:
        return stored.life / 1e6
    times = (stored.fields[name] for name in ("queued_at", "started_at", "ended_at"))
    return _moment(next(filter(None, times), None))


def _fetch(query: Callable[[], T]) -> T:
    """Return the result of a query.

    Sync code may run in the thread of an event loop, where Django refuses queries: a template, for
    example, that an async view renders.
    """
    with _errors():
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return query()
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(copy_context().run, _aside, query).result()


def _aside(query: Callable[[], T]) -> T:
    try:
        return query()
    finally:
        connections.close_all()


@contextmanager
def _errors() -> Iterator[None]:
    """Turn every exception into `HistoryUnavailable`: backends and routers may raise any."""
    try:
        yield
    except Exception as error:
        if not _outage:  # One log line for each outage.
            logger.warning(
                "The import history is unavailable (%s: %s)", type(error).__name__, error
            )
        _outage.add(True)
        raise HistoryUnavailable("The import history is unavailable") from error
    _outage.clear()
