"""Ends jobs whose workers were lost, and rows whose end the database has missed.

A living worker renews its lease, however long a row takes: only the lease and Redis's clock decide,
never the age of an import. So while Redis is unavailable, nothing is ended.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

from django.utils import timezone

from ..cancellation import without_waiting
from ..conf import settings
from ..core.outcome import LOST, LostRun, RunState
from ..core.snapshot import RATES, Fields, Stored
from ..redis.executor import perform_sync, read_all
from ..service.base import now_text
from ..service.registry import get_guarded_sync_manager
from ..signals import arguments_of, import_finished, send
from ..tracker.tracker import ImportTracker
from .events import PRESUMED, Event, Kind, event_of, lost_message
from .models import ENDED, ImportRun, Status
from .reports import save_report
from .rows import database, record

T = TypeVar("T")

PORTION = 100
"""How many jobs are read at once."""
MOST_RUNS = 1000
"""How many unfinished runs of a namespace one call checks, of each status, oldest first."""
MOST_JOBS = 10_000
"""How many jobs of Redis's list `reconcile` checks: all of them."""


@dataclasses.dataclass(slots=True)
class Repairs:
    """What was repaired."""

    lost: int = 0
    """Runs that were ended because their workers were lost."""
    ended: int = 0
    """Runs that had ended in Redis, and not in the database."""
    added: int = 0
    """Runs that Redis knew, and the database did not."""


def end_lost_jobs(namespace: str | None = None) -> int:
    """End the jobs whose workers have been lost for `LOST_AFTER_SECONDS`; return their number.

    Each is ``failed`` in Redis and for its watchers, and ``lost`` in the history; `import_finished`
    is sent with ``lost``. If several processes call this at once, a job is ended by one of them.
    Runs that have ended in Redis are ended in the database as well.

    A job that Redis does not know any more, for example because it was emptied, is lost if it is
    still unknown `LOST_AFTER_SECONDS` after the first check; a queued one after `QUEUED_SECONDS`. A
    living worker writes its job again before that.

    Args:
        namespace: default: each namespace with unfinished runs, and the setting's.

    Raises:
        ProgressUnavailable: Redis cannot be reached.
    """
    return _repair(namespace, adds=False).lost


def reconcile(namespace: str | None = None) -> Repairs:
    """Do the same as `end_lost_jobs`, and add the runs that the database has missed.

    Args:
        namespace: see there.

    Raises:
        ProgressUnavailable: Redis cannot be reached.
    """
    return _repair(namespace, adds=True)


def _repair(namespace: str | None, *, adds: bool) -> Repairs:
    repairs = Repairs()
    for name in [namespace] if namespace is not None else _namespaces():
        _Repair(name, repairs).run(adds=adds)
    return repairs


def _namespaces() -> list[str]:
    unfinished = ImportRun.objects.using(database()).exclude(status__in=ENDED)
    names = set(unfinished.order_by().values_list("namespace", flat=True).distinct())
    if not settings.has_tenants:  # A callable depends on the tenant, and there may be none.
        names.add(settings.namespace)
    return sorted(map(str, names))


class _Repair:
    """Compares the runs of a namespace with its jobs in Redis.

    Args:
        namespace: the namespace.
        repairs: counts what is repaired.
    """

    def __init__(self, namespace: str, repairs: Repairs) -> None:
        self._namespace = namespace
        self._jobs = get_guarded_sync_manager(namespace)
        self._runs = ImportRun.objects.using(database()).filter(namespace=namespace)
        self._repairs = repairs

    def run(self, *, adds: bool) -> None:
        """Repair what differs.

        Args:
            adds: whether to add runs that the database does not know.
        """
        running, queued = (self._unfinished(status) for status in (Status.RUNNING, Status.QUEUED))
        for rows in _portions(chain(running, queued)):
            for row, state in zip(rows, self._read(row.job_id for row in rows), strict=True):
                self._compare(row, state)
        listed = self._jobs.listed(None, MOST_JOBS)
        for jobs in _portions(job for job, stored in listed.items() if adds or stored.stalled):
            for job_id, state in zip(jobs, self._read(jobs), strict=True):
                self._end_if_lost(job_id, state)
                if adds:
                    self._add(job_id, state)

    def _unfinished(self, status: Status) -> Iterable[ImportRun]:
        return self._runs.filter(status=status).order_by("pk")[:MOST_RUNS]

    def _read(self, job_ids: Iterable[Any]) -> list[RunState]:
        calls = [self._jobs.calls.run(job_id) for job_id in job_ids]
        states = without_waiting(read_all(self._jobs.redis, calls))
        return [state or RunState(stored=None, read_at=0) for state in states]

    def _compare(self, row: ImportRun, state: RunState) -> None:
        """End an unfinished run, if it is over."""
        stored = state.stored
        is_own = state.run_id == row.run_id and stored is not None
        if stored is not None and stored.deleted:
            self._end(row, state, Status.CANCELLED)
        elif stored is not None and (is_own or self._is_newest(row, stored)) and state.status:
            self._end(row, state, state.status)
        elif is_own and state.run_id and state.is_lost(settings.lost_after_seconds):
            self._end_if_lost(str(row.job_id), state)
        elif is_own:
            self._runs.filter(pk=row.pk).exclude(missing_since=None).update(missing_since=None)
        elif row.run_id is None and state.run_id is not None:
            self._end_spurious(row, state)
        else:
            self._note_missing(row)

    def _is_newest(self, row: ImportRun, stored: Stored) -> bool:
        """Return whether an outcome without its attempt's token is that of this run."""
        newer = self._runs.filter(job_id=row.job_id, attempt__gt=row.attempt)
        return stored.expired and not newer.exists()

    def _end(self, row: ImportRun, state: RunState, status: str) -> None:
        """Record an end that Redis knows."""
        stored = state.stored
        assert stored is not None
        known = row.snapshot if stored.expired else {}  # An outcome has only a few fields.
        fields = {**stored.fields, **_without(known, stored.fields.keys() - {"started_at"})}
        event = self._event(
            Kind.FINISHED,
            str(row.job_id),
            status=status,
            snapshot=_without(fields, RATES | {"expired"}),
            run_id=row.run_id,
            owner=stored.owner,
        )
        if row.run_id is None:  # Ended without a worker.
            values = {"status": status, "ended_at": timezone.now()}
            self._runs.filter(pk=row.pk).exclude(status__in=ENDED).update(**values)
        else:
            save_report(record(event), self._jobs.report(str(row.job_id)), database())
        self._repairs.ended += 1

    def _end_if_lost(self, job_id: str, state: RunState) -> None:
        """End a job in Redis, record it, and send the signal, if no other process does."""
        if not state.is_lost(settings.lost_after_seconds):
            return
        reported = self._end_that_redis_missed(state)
        fields: Fields = {**dict.fromkeys(RATES), **(reported or lost_fields(job_id))}
        call = self._jobs.calls.end_lost(
            job_id,
            fields,
            now_text(),
            lost_after_seconds=settings.lost_after_seconds,
            run_id=state.run_id,
        )
        lost = perform_sync(self._jobs.redis, call)
        if lost is not None and reported is None:
            self._announce(job_id, lost)

    def _end_that_redis_missed(self, state: RunState) -> Fields | None:
        """Return the final fields of an attempt that could report its end to the database only."""
        kept = ENDED - PRESUMED
        row = self._runs.filter(run_id=state.run_id or "", status__in=kept).first()
        return None if row is None else {**row.snapshot, "status": str(row.status)}

    def _announce(self, job_id: str, lost: LostRun) -> None:
        self._repairs.lost += 1
        arguments = arguments_of(
            job_id=job_id,
            namespace=self._namespace,
            owner=lost.owner,
            status=LOST,
            snapshot=_without(lost.snapshot, RATES),
            attempt=lost.attempt,
            run_id=lost.run_id,
            report=partial(self._jobs.report, job_id),
        )
        try:
            event = event_of(Kind.FINISHED, arguments)
            save_report(record(event), self._jobs.report(job_id), database())
        finally:
            send(import_finished, ImportTracker, arguments)

    def _end_spurious(self, row: ImportRun, state: RunState) -> None:
        """Give a queued row to the attempt that has begun, or remove it if that has another one."""
        if self._runs.filter(run_id=state.run_id).exists():
            self._runs.filter(pk=row.pk, run_id=None).delete()
        else:
            self._add(str(row.job_id), state)

    def _note_missing(self, row: ImportRun) -> None:
        """End a run that Redis has forgotten for so long that no worker can be alive."""
        now = timezone.now()
        if row.missing_since is None:
            self._runs.filter(pk=row.pk, missing_since=None).update(missing_since=now)
            return
        is_queued = row.status == Status.QUEUED
        seconds = settings.queued_seconds if is_queued else settings.lost_after_seconds
        if now - row.missing_since < timedelta(seconds=seconds):
            return
        values = {**lost_fields(str(row.job_id)), "status": Status.LOST, "ended_at": now}
        if not self._runs.filter(pk=row.pk).exclude(status__in=ENDED).update(**values):
            return  # Another process was faster.
        self._repairs.lost += 1
        if not is_queued:  # Otherwise no attempt has begun.
            arguments = arguments_of(
                job_id=row.job_id,
                namespace=self._namespace,
                owner=row.owner,
                status=LOST,
                snapshot={**row.snapshot, **lost_fields(str(row.job_id))},
                attempt=row.attempt,
                run_id=row.run_id,
            )
            send(import_finished, ImportTracker, arguments)

    def _add(self, job_id: str, state: RunState) -> None:
        """Add the last attempt at a job, if the database does not know it."""
        stored = state.stored
        if stored is None or stored.expired:
            return
        of_job = self._runs.filter(job_id=job_id)
        known = of_job.filter(run_id=state.run_id) if state.run_id else of_job
        if known.exists():
            return
        fields = _without(stored.fields, RATES)
        kind = Kind.QUEUED if state.run_id is None else Kind.STARTED
        details = {
            "snapshot": fields,
            "run_id": state.run_id,
            "attempt": state.attempt,
            "owner": stored.owner,
        }
        pk = record(self._event(kind, job_id, status=str(fields.get("status")), **details))
        if status := state.status:
            self._end(ImportRun.objects.using(database()).get(pk=pk), state, status)
        self._repairs.added += 1

    def _event(self, kind: Kind, job_id: str, **details: Any) -> Event:
        return Event(kind=kind, job_id=job_id, namespace=self._namespace, **details)


def lost_fields(job_id: str) -> Fields:
    """Return the final fields of a job whose worker was lost."""
    return {"status": "failed", "error_message": lost_message(job_id)}


def _without(fields: Mapping[str, Any], names: Collection[str]) -> Fields:
    return {name: value for name, value in fields.items() if name not in names}


def _portions(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while portion := list(islice(iterator, PORTION)):
        yield portion
