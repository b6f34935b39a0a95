"""`track_import`: an existing loop reports itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any

from django.db import transaction

from .conf import settings
from .connections import get_impatient_manager
from .core.attempt import Told
from .core.calls import clean_owner
from .core.errors import ImportCancelled, ImportSuperseded, OutsideOfTheWith
from .core.keys import JobId, clean_job_id
from .core.snapshot import RATES, Fields
from .counts import Counts
from .endings import ending_of, open_transaction
from .signals import import_finished, send, send_in_loop
from .sync import SyncProgressManager
from .verbs import now_text
from .writer import Writer

logger = logging.getLogger("django_import_progress")

Exposed = type[BaseException] | tuple[type[BaseException], ...]

BEGIN_TURNS = 40
"""How long entering waits until the job stands in Redis. A short import must hardly feel it."""


class ImportTracker(Counts):
    """Makes an existing loop report itself: it counts, and a thread beside the loop tells.

    ::

        with track_import(job_id, total=100_000) as job:
            for row in job.rows(reader):
                ...

    Entering writes ``importing``, leaving ``done``; an exception writes ``failed`` and is raised
    on; `SystemExit`, `KeyboardInterrupt` and `asyncio.CancelledError` write ``cancelled`` and are
    raised on. Redis, away or slow, never fails the import. Count in one thread or task only.

    After `request_cancel` the loop is left at a row's boundary by `ImportCancelled`, which the
    `with` absorbs. In a database transaction ``done`` is told once that is committed.

    Args:
        job_id: the job; made where it is not there yet. Used again, it is a new attempt.
        total: how many rows there are, where that is known.
        owner: a user, or a primary key; recorded where the job has none yet.
        stage: the stage that is shown at first.
        expose: exceptions whose message the end user may read; of others only a neutral sentence
            is shown (with `DEBUG` on, any message).
        manager: where to write; made from settings where not given.

    Raises:
        InvalidJobId: `job_id` cannot be one.
        InvalidProgress: another argument cannot be what it should.
        TypeError: `manager` is of the asynchronous kind, or `expose` is no exception class.
        ImportSuperseded: out of the `with`; another attempt has taken the job meanwhile.
    """

    def __init__(
        self,
        job_id: JobId,
        *,
        total: int | None = None,
        owner: Any = None,
        stage: str | None = None,
        expose: Exposed = (),
        manager: SyncProgressManager | None = None,
    ) -> None:
        if manager is not None and not isinstance(manager, SyncProgressManager):
            raise TypeError(
                f"manager must be a SyncProgressManager, not {type(manager).__name__}:"
                " the tracker writes from a thread, beside asyncio code as well"
            )
        super().__init__(clean_job_id(job_id), total, stage)
        self._expose = tuple(expose) if isinstance(expose, tuple | list) else (expose,)
        if not all(isinstance(kind, type) for kind in self._expose):
            raise TypeError(f"expose is {expose!r}: pass an exception class, or a tuple of them")
        self._manager = manager or get_impatient_manager()
        self._owner = clean_owner(owner)
        self._writer: Writer | None = None
        self._has_noticed = False
        self._error: BaseException | None = None
        """What the import has raised; once it has ended."""

    def __repr__(self) -> str:
        return f"<ImportTracker {self.job_id}: {self.processed} of {self._total}>"

    @property
    def cancelled(self) -> bool:
        """Whether the job was asked to stop. Who has seen it ends ``cancelled``, however."""
        self._has_noticed = self._has_noticed or self.interrupt is ImportCancelled
        return self._has_noticed

    def __enter__(self) -> ImportTracker:
        writer = self._start()
        try:
            writer.began.wait_a_moment(BEGIN_TURNS)
        except BaseException as error:  # A signal's: the `with` will not be left, as not entered.
            self._finish(error)
            self._announce()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        waits = error is None and not self._has_noticed and open_transaction() is not None
        self._finish(error, is_held_back=waits)
        self._wait_for_the_end(self._tell_the_end if waits else self._announce)
        return self._judge(error)

    async def __aenter__(self) -> ImportTracker:
        writer = self._start()
        try:
            await writer.began.wait_a_moment_in_loop(BEGIN_TURNS)
        except BaseException as error:
            self._finish(error)
            await self._announce_in_loop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._finish(error)
        assert self._writer is not None
        try:
            await self._writer.wait_for_the_end_in_loop()
        finally:
            await self._announce_in_loop()
        return self._judge(error)

    def _start(self) -> Writer:
        if self._writer is not None:
            raise RuntimeError("A tracker tracks one attempt: call track_import for another")
        self.interrupt = None
        self._fields["started_at"] = now_text()
        self._writer = Writer(
            self._manager,
            self.job_id,
            self._owner,
            self._sample,
            stalled_after_seconds=settings.stalled_after_seconds,
            on_told=self._listen,
            on_begun=self._note_stored,
        )
        self._writer.start()
        logger.info("Import %s begins", self.job_id)
        return self._writer

    def _listen(self, told: Told) -> None:
        """Take note of what Redis says of the job. Called in the writer's thread."""
        if told in {Told.SUPERSEDED, Told.DELETED}:
            self.interrupt = ImportSuperseded
        elif told is Told.STOP and self.interrupt is None:
            self.interrupt = ImportCancelled

    def _finish(self, error: BaseException | None, *, is_held_back: bool = False) -> None:
        assert self._writer is not None
        if error is None and self._has_noticed:
            error = ImportCancelled()
        self._error = error
        self.interrupt = self.interrupt or OutsideOfTheWith
        if not is_held_back:
            self._end = ending_of(self.job_id, error, self._expose)
        self._writer.stop()

    def _wait_for_the_end(self, then: Callable[[], None]) -> None:
        """Wait, and go on: who interrupts the waiting changes nothing of how the import ended."""
        assert self._writer is not None
        try:
            self._writer.wait_for_the_end()
        finally:
            then()

    def _tell_the_end(self) -> None:
        """Tell what was held back once all transactions that are open now are committed."""
        assert self._writer is not None
        if (alias := open_transaction()) is not None:
            transaction.on_commit(self._tell_the_end, using=alias)
        else:
            self._end = ending_of(self.job_id, None, ())
            self._writer.tell_the_end()
            self._wait_for_the_end(self._announce)

    def _announce(self) -> None:
        """Send `import_finished`, if somebody listens, and the job is still this attempt's."""
        if self._is_heard():
            send(ImportTracker, self._news())

    async def _announce_in_loop(self) -> None:
        """Do the same in an event loop."""
        if self._is_heard():
            await send_in_loop(ImportTracker, self._news())

    def _is_heard(self) -> bool:
        """Log that the attempt is over; tell whether somebody is to be told so."""
        if self.interrupt is ImportSuperseded:
            logger.info("Import %s goes on in another attempt", self.job_id)
            return False
        logger.info(
            "Import %s is %s after %d rows", self.job_id, self._facts()["status"], self.processed
        )
        return import_finished.has_listeners(ImportTracker)

    def _news(self) -> Fields:
        assert self._writer is not None
        number, base, owner = None, Fields(), self._owner
        if (attempt := self._writer.attempt) is not None:
            number, base, owner = attempt.number, attempt.base, attempt.owner
        snapshot = {**base, **self._facts(), "attempt": number, "updated_at": now_text()}
        return {
            "job_id": self.job_id,
            "namespace": self._manager.calls.keys.namespace,
            "owner": owner or None,
            "status": snapshot["status"],
            "snapshot": {name: value for name, value in snapshot.items() if name not in RATES},
            "attempt": number,
            "error": self._error,
        }

    def _judge(self, error: BaseException | None) -> bool:
        """Return whether `error` ends with the `with`.

        Raises:
            ImportSuperseded: nothing else is raised, but the job is another attempt's by now.
        """
        if self.interrupt is ImportSuperseded and isinstance(error, ImportCancelled | None):
            raise ImportSuperseded
        return isinstance(error, ImportCancelled)


track_import = ImportTracker
