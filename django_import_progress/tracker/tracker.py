"""`track_import`: report the progress of an existing loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.dispatch import Signal

from ..cancellation import result_of, without_waiting
from ..conf import settings
from ..core.commands import clean_owner
from ..core.errors import ImportCancelled, ImportFailed, ImportSuperseded, StopsALoop
from ..core.keys import JobId, clean_job_id
from ..core.rejects import EMPTY
from ..core.snapshot import RATES, Fields
from ..kinds import description_fields
from ..service.base import now_text
from ..service.registry import get_impatient_manager
from ..service.sync_manager import SyncProgressManager
from ..signals import Send, arguments_of, import_finished, import_started, send, send_async
from .outcome import (
    failed_fields,
    final_fields,
    is_cancellation,
    was_raised_by,
    was_raised_while_cancelling,
)
from .rejects.guard import Exposed
from .rejects.rejecting import Rejecting
from .sentences import rolled_back
from .transactions import Callback, TransactionEnd, after_transactions
from .writer import Writer

logger = logging.getLogger("django_import_progress")

Wait = Callable[..., Any]
"""Waits, or returns a coroutine that does."""
ENTER_TURNS = 40
"""How long entering waits for Redis to have the job. It must hardly delay a short import."""


class ImportTracker(Rejecting):
    """Reports the progress of an existing loop: it counts rows, and a thread writes to Redis.

    ::

        with track_import(job_id, total=100_000) as job:
            for row in job.rows(reader):
                ...

    Entering writes ``importing``, and leaving ``done``. An exception writes ``failed`` and
    propagates; `SystemExit`, `KeyboardInterrupt` and `asyncio.CancelledError` write ``cancelled``
    and propagate. A slow or unavailable Redis never fails the import. Use `rows` and `batches` in
    one thread or task only.

    After `request_cancel`, `ImportCancelled` is raised between two rows, and absorbed by the `with`
    block. Inside a database transaction, ``done`` is published after the commit.

    Args:
        job_id: the job; created if it does not exist. If used again, this is a new attempt.
        total: the number of rows, if known.
        owner: a user or a primary key; stored if the job has no owner yet.
        stage: the first stage.
        label: what the bar is called, unless its tag says so: a file's name, for example.
        kind: ``import``, ``export`` or ``task``, on which the texts depend; any other is a task.
        expose: exceptions whose message the end user may see, and which reject a row in `guard`.
            For others a neutral sentence is shown (with `DEBUG` on, their message).
        max_rejects: how many rows may be rejected before the import fails; None: any number.
        redact: columns whose values are not kept of rejected rows.
        manager: where to write; by default the manager from settings.

    Raises:
        InvalidJobId: `job_id` is invalid.
        InvalidProgress: another argument is invalid.
        TypeError: `manager` is an asynchronous one, or `expose` is not an exception class.
        ImportSuperseded: raised out of the `with` block if another attempt has taken the job.
        TooManyRejects: raised out of the `with` block if more than `max_rejects` were rejected.
    """

    def __init__(
        self,
        job_id: JobId,
        *,
        total: int | None = None,
        owner: Any = None,
        stage: str | None = None,
        label: Any = None,
        kind: str | None = None,
        expose: Exposed = (),
        max_rejects: int | None = None,
        redact: Collection[str] = (),
        manager: SyncProgressManager | None = None,
    ) -> None:
        if manager is not None and not isinstance(manager, SyncProgressManager):
            raise TypeError(
                f"manager must be a SyncProgressManager, not {type(manager).__name__}:"
                " the tracker writes from a thread, also in asyncio code"
            )
        super().__init__(
            clean_job_id(job_id),
            total,
            stage,
            expose=expose,
            max_rejects=max_rejects,
            redact=redact,
        )
        self._set_fields(description_fields(label, kind))
        self._manager = manager or get_impatient_manager()
        self._owner = clean_owner(owner)
        self._writer: Writer
        self._is_signal_sent = False
        self._is_previous_reported = False
        """Whether the end of the attempt before this one was reported, if it was lost."""
        self._error: BaseException | None = None
        """The exception that the import raised; kept until the signal was sent."""

    def __repr__(self) -> str:
        return f"<ImportTracker {self.job_id}: {self.processed} of {self._total}>"

    def __enter__(self) -> ImportTracker:
        return without_waiting(self._enter(in_loop=False))

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return without_waiting(self._exit(error, in_loop=False))

    async def __aenter__(self) -> ImportTracker:
        return await self._enter(in_loop=True)

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return await self._exit(error, in_loop=True)

    async def _enter(self, *, in_loop: bool) -> ImportTracker:
        """Enter the `with` block: wait in the event loop, or in the thread."""
        writer = self._make_writer()
        try:
            self._start(writer)
            await writer.started.wait_briefly(ENTER_TURNS, in_loop=in_loop)
            await self._send_started(in_loop=in_loop)
        except BaseException as error:  # Of a signal handler: `__exit__` will not be called.
            self._finish(error)
            await self._send_signal(in_loop=in_loop)
            raise
        return self

    async def _exit(self, error: BaseException | None, *, in_loop: bool) -> bool:
        if self._is_forked_copy or (not self._was_failed_by(error) and self._defers_end(error)):
            return False
        left_by = error
        after: Wait = _after_transactions_async if in_loop else after_transactions
        try:
            if self._may_wait(error) and await result_of(
                after(self._end_after_commit, in_test=self._writer.is_in_test)
            ):
                self._flush()
                await self._writer.wait_until_flushed(in_loop=in_loop)
            else:
                self._finish(error)
                await self._writer.wait_until_ended(in_loop=in_loop)
        except BaseException as interruption:  # A signal handler may raise at any moment.
            left_by = left_by or interruption
            raise
        finally:
            if not self._has_left:
                self._finish(left_by)
            if self._final:
                await self._send_signal(in_loop=in_loop)
            left_by = None  # Its traceback refers to this frame.
        return self._is_absorbed(error)

    def set(self, **fields: Any) -> None:
        """Set fields of the snapshot: see `ProgressCounters.set`."""
        super().set(**fields)
        self._writer.write_inline()

    def _make_writer(self) -> Writer:
        if hasattr(self, "_writer"):
            raise RuntimeError("A tracker tracks one attempt: call track_import for another")
        self._writer = Writer(
            self._manager,
            self.job_id,
            self._owner,
            self._sample,
            self._reject_log,
            stalled_after_seconds=settings.stalled_after_seconds,
            on_result=self._on_write_result,
            on_start=self._note_stored,
        )
        return self._writer

    def _start(self, writer: Writer) -> None:
        self._start_tracking()
        self._fields["started_at"] = now_text()
        writer.start()
        logger.info("Import %s started", self.job_id)

    def _may_wait(self, error: BaseException | None) -> bool:
        """Return whether the final status may have to wait for a commit."""
        return error is None and not self._has_seen_cancel and self._failure is None

    def _flush(self) -> None:
        """Write everything counted so far; the final status follows after the commit."""
        self._stop_tracking()
        self._writer.flush()

    def _defers_end(self, error: BaseException | None) -> bool:
        """Return whether a subclass ends the import later, by `_finish` and `_wait_and_notify`."""
        return False

    def _finish(self, error: BaseException | None) -> None:
        if self._has_seen_cancel and (error is None or was_raised_while_cancelling(error, self)):
            error = error or self._cancelled()
            self._final = self._final or {"status": "cancelled"}
        self._error = error or self._overflow
        if self._failure is not None and (error is None or not is_cancellation(error)):
            self._final = self._final or failed_fields(self._failure)
        if error is not None or self._failure is not None:
            self._count_unfinished()
        self._final = self._final or final_fields(self.job_id, error, self._expose, self._kind)
        self._writer.stop()
        self._stop_tracking()

    def _wait_and_notify(self) -> None:
        """Wait for the final status, and send the signal even if waiting is interrupted."""
        try:
            without_waiting(self._writer.wait_until_ended(in_loop=False))
        finally:
            without_waiting(self._send_signal(in_loop=False))

    def _end_after_commit(self, end: TransactionEnd) -> None:
        """Write the final status, now that the transaction is over."""
        if self._final or self._is_forked_copy:
            return
        is_committed = end is TransactionEnd.COMMITTED
        if is_committed:
            self._final = final_fields(self.job_id, None, ())
        else:
            self._final = failed_fields(rolled_back(self._kind))
        # After a test, a receiver would write to the database, and nothing would roll it back.
        self._is_signal_sent = self._is_signal_sent or end is TransactionEnd.TEST_OVER
        self._writer.stop()
        self._stop_tracking()
        self._wait_and_notify()

    async def _send_started(self, *, in_loop: bool) -> None:
        """Send `import_started`, unless the job was taken from this attempt already."""
        if not self._lost:
            await self._send_previous(in_loop=in_loop)
            await self._send(import_started, self._signal_arguments, in_loop=in_loop)

    async def _send_signal(self, *, in_loop: bool) -> None:
        """Send `import_finished`, if the job is still this attempt's."""
        if self._should_send_signal():
            await self._send_previous(in_loop=in_loop)
            await self._send(import_finished, self._signal_arguments, in_loop=in_loop)
        self._error = None  # Its traceback refers to what the import has opened.

    async def _send_previous(self, *, in_loop: bool) -> None:
        """Send `import_finished` for an attempt that was lost, once Redis has said so."""
        attempt = self._writer.attempt
        previous = None if attempt is None else attempt.previous
        if previous is not None and previous.was_just_lost and not self._is_previous_reported:
            self._is_previous_reported = True
            await self._send(import_finished, self._arguments_of_previous, in_loop=in_loop)

    async def _send(
        self, signal: Signal, arguments: Callable[[], Fields], *, in_loop: bool
    ) -> None:
        """Send a signal, if it has receivers."""
        notify: Send = send_async if in_loop else send
        if signal.has_listeners(ImportTracker):
            await result_of(notify(signal, ImportTracker, arguments()))

    def _should_send_signal(self) -> bool:
        """Log that the attempt is over; return whether receivers are to be notified."""
        if self._is_signal_sent:
            return False
        self._is_signal_sent = True
        self._unregister()
        if self._lost:
            logger.info("%s", self._superseded())
            return False
        logger.info(
            "Import %s is %s after %d rows",
            self.job_id,
            self._current_fields()["status"],
            self.processed,
        )
        return True

    def _signal_arguments(self) -> Fields:
        number, base, owner, previous = None, Fields(), self._owner, None
        if (attempt := self._writer.attempt) is not None:
            number, base, owner = attempt.number, attempt.base, attempt.owner
            previous = attempt.previous
        snapshot = {**base, **self._current_fields(), "attempt": number, "updated_at": now_text()}
        return arguments_of(
            **self._signal_job,
            owner=owner or None,
            status=snapshot["status"],
            snapshot={name: value for name, value in snapshot.items() if name not in RATES},
            attempt=number,
            error=self._error,
            run_id=self._writer.run_id,
            previous=previous,
            report=partial(self._reject_log.report, self._rejected),
        )

    def _arguments_of_previous(self) -> Fields:
        attempt = self._writer.attempt
        assert attempt is not None
        assert attempt.previous is not None
        previous = attempt.previous
        return arguments_of(
            **self._signal_job,
            owner=attempt.owner or None,
            status=previous.status,
            snapshot={n: value for n, value in previous.snapshot.items() if n not in RATES},
            attempt=previous.attempt,
            run_id=previous.run_id,
            report=lambda: EMPTY,
        )

    @property
    def _signal_job(self) -> Fields:
        return {"job_id": self.job_id, "namespace": self._manager.calls.keys.namespace}

    def _is_absorbed(self, error: BaseException | None) -> bool:
        """Return whether the `with` block absorbs `error`.

        Raises:
            ImportSuperseded: the job is no longer this attempt's, and no other error is raised.
            TooManyRejects: it was raised before, and swallowed.
        """
        is_ours = error is None or was_raised_by(error, self, StopsALoop)
        if self._lost and is_ours and not isinstance(error, ImportSuperseded):
            raise self._superseded() from None
        if error is None:
            if self._overflow is not None:
                raise self._overflow from None
            return False
        return was_raised_by(error, self, ImportCancelled) or self._was_failed_by(error)

    def _was_failed_by(self, error: BaseException | None) -> bool:
        """Return whether `error` is the one that `fail` has raised."""
        return error is not None and was_raised_by(error, self, ImportFailed)


async def _after_transactions_async(callback: Callback, *, in_test: bool) -> bool:
    """Call `after_transactions` in the thread in which Django runs sync code."""
    try:
        return await sync_to_async(after_transactions)(callback, in_test=in_test)
    except RuntimeError:  # That thread has ended, and its transactions with it.
        return False


track_import = ImportTracker
