"""`track_import`: an existing loop reports itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any

from asgiref.sync import sync_to_async

from ..conf import settings
from ..core.commands import clean_owner
from ..core.errors import ImportCancelled, ImportSuperseded, StopsALoop
from ..core.keys import JobId, clean_job_id
from ..core.snapshot import RATES, Fields
from ..service.base import now_text
from ..service.registry import get_impatient_manager
from ..service.sync_manager import SyncProgressManager
from ..signals import import_finished, send, send_in_loop
from .interrupts import Stoppable
from .outcome import belongs_to, ending_of, follows, rolled_back
from .transactions import Over, after_transactions
from .writer import Writer

logger = logging.getLogger("django_import_progress")

Exposed = type[BaseException] | tuple[type[BaseException], ...]

BEGIN_TURNS = 40
"""How long entering waits until the job stands in Redis. A short import must hardly feel it."""


class ImportTracker(Stoppable):
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
        self._writer: Writer
        self._is_announced = False
        self._error: BaseException | None = None
        """What the import has raised, from its end until receivers of the signal were notified."""

    def __repr__(self) -> str:
        return f"<ImportTracker {self.job_id}: {self.processed} of {self._total}>"

    def __enter__(self) -> ImportTracker:
        writer = self._make_writer()
        try:
            self._start(writer)
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
        if self._is_elsewhere:
            return False
        left_by = error
        try:
            if self._may_wait(error) and after_transactions(self._settle):
                self._hold()
                self._writer.wait_until_held()
            else:
                self._finish(error)
                self._writer.wait_for_the_end()
        except BaseException as interruption:  # A signal handler may raise at any moment.
            left_by = left_by or interruption
            raise
        finally:
            if not self._is_through:
                self._finish(left_by)
            if self._end:
                self._announce()
            left_by = None  # Its traceback refers to this frame.
        return self._judge(error)

    async def __aenter__(self) -> ImportTracker:
        writer = self._make_writer()
        try:
            self._start(writer)
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
        if self._is_elsewhere:
            return False
        left_by = error
        try:
            if self._may_wait(error) and await _after_transactions_in_loop(self._settle):
                self._hold()
                await self._writer.wait_until_held_in_loop()
            else:
                self._finish(error)
                await self._writer.wait_for_the_end_in_loop()
        except BaseException as interruption:
            left_by = left_by or interruption
            raise
        finally:
            if not self._is_through:  # pragma: no cover - a signal handler raised just before
                self._finish(left_by)
            if self._end:
                await self._announce_in_loop()
            left_by = None
        return self._judge(error)

    def _make_writer(self) -> Writer:
        if hasattr(self, "_writer"):
            raise RuntimeError("A tracker tracks one attempt: call track_import for another")
        self._writer = Writer(
            self._manager,
            self.job_id,
            self._owner,
            self._sample,
            stalled_after_seconds=settings.stalled_after_seconds,
            on_told=self._listen,
            on_begun=self._note_stored,
        )
        return self._writer

    def _start(self, writer: Writer) -> None:
        self._begin_counting()
        self._fields["started_at"] = now_text()
        writer.start()
        logger.info("Import %s begins", self.job_id)

    def _may_wait(self, error: BaseException | None) -> bool:
        """Tell whether the end may have to wait for a commit."""
        return error is None and not self._has_noticed

    def _hold(self) -> None:
        """Have all written that was counted; the end comes after the commit."""
        self._stop_counting()
        self._writer.hold()

    def _finish(self, error: BaseException | None, *, is_held_back: bool = False) -> None:
        if self._has_noticed and (error is None or follows(error, self)):
            error = error or self._cancelled()
            self._end = self._end or {"status": "cancelled"}
        self._error = error
        if not is_held_back and not self._end:
            self._end = ending_of(self.job_id, error, self._expose)
        self._writer.stop()
        self._stop_counting()

    def _wait_for_the_end(self, then: Callable[[], None]) -> None:
        """Wait, and go on: who interrupts the waiting changes nothing of how the import ended."""
        try:
            self._writer.wait_for_the_end()
        finally:
            then()

    def _settle(self, over: Over) -> None:
        """Write the end that was held back, now that the transaction is over."""
        if self._end or self._is_elsewhere:
            return
        is_committed = over is Over.COMMITTED
        self._end = ending_of(self.job_id, None, ()) if is_committed else rolled_back()
        # A receiver would write into a database from which nothing removes it.
        self._is_announced = self._is_announced or over is Over.TEST_OVER
        self._writer.stop()
        self._stop_counting()
        self._wait_for_the_end(self._announce)

    def _announce(self) -> None:
        """Send `import_finished`, if somebody listens, and the job is still this attempt's."""
        if self._is_heard():
            send(ImportTracker, self._news())
        self._error = None  # Its traceback refers to whatever the import has opened.

    async def _announce_in_loop(self) -> None:
        """Do the same in an event loop."""
        if self._is_heard():
            await send_in_loop(ImportTracker, self._news())
        self._error = None

    def _is_heard(self) -> bool:
        """Log that the attempt is over; tell whether there is anybody to be notified."""
        if self._is_announced:
            return False
        self._is_announced = True
        self._forget()
        if self._lost:
            logger.info("%s", self._superseded())
            return False
        logger.info(
            "Import %s is %s after %d rows", self.job_id, self._facts()["status"], self.processed
        )
        return import_finished.has_listeners(ImportTracker)

    def _news(self) -> Fields:
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
        """Return whether `error` ends with the `with` block.

        Raises:
            ImportSuperseded: nothing else is raised, but the job is not this attempt's any more.
        """
        is_ours = error is None or belongs_to(error, self, StopsALoop)
        if self._lost and is_ours and not isinstance(error, ImportSuperseded):
            raise self._superseded() from None
        return error is not None and belongs_to(error, self, ImportCancelled)


async def _after_transactions_in_loop(then: Callable[[Over], None]) -> bool:
    """Do the same as `after_transactions` for the thread in which Django's sync code runs."""
    try:
        return await sync_to_async(after_transactions)(then)
    except RuntimeError:  # That thread is gone: a transaction in it is not open any more.
        return False


track_import = ImportTracker
