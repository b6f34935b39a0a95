"""A Celery app of the tests' site, and imports that go well or badly."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from itertools import count, islice, takewhile
from pathlib import Path
from typing import Any

import gevent
import pytest
from celery import Celery
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from django.core.exceptions import ValidationError
from django.utils.module_loading import import_string

from django_import_progress import ImportSuperseded, track_import
from django_import_progress.contrib.celery import ImportTask

from .outage import leave_in_an_outage

app = Celery("tests", broker=os.environ.get("TEST_SITE_BROKER", "memory://"), set_as_current=False)
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
VISIBILITY_SECONDS = 2
"""A broker delivers again, after so long, what was not acknowledged."""
app.conf.broker_transport_options = {"visibility_timeout": VISIBILITY_SECONDS}
if switch := os.environ.get("TEST_SITE_SWITCH"):  # pragma: no cover - in a worker
    import_string(switch)(pytest.MonkeyPatch())  # For a negative control: a defence is off.

RETRY_SECONDS = 0.5
"""So long an attempt waits in the queue, that who watches sees the job queued."""


class Interrupt(BaseException):
    """What stops nothing, and is no `Exception` either."""


ERRORS: dict[str, BaseException] = {
    "invalid": ValidationError("Row 3."),
    "ignore": Ignore(),
    "requeue": Reject("later", requeue=True),
    "reject": Reject("never", requeue=False),
    "exit": SystemExit(),
    "superseded": ImportSuperseded(),
    "late": SoftTimeLimitExceeded(),
    "timeout": gevent.Timeout(),
    "interrupt": Interrupt(),
}


def without_end() -> Iterator[int]:  # pragma: no cover - in a worker
    """Yield rows until somebody stops the import."""
    for number in count():
        yield number
        time.sleep(0.002)


@app.task(bind=True, base=ImportTask)
def import_rows(self: ImportTask, rows: int = 3, owner: int | None = None) -> None:
    """Import so many rows; the stage tells which process does it."""
    with self.track(total=rows, owner=owner, stage=str(os.getpid())) as job:
        for _ in job.rows(range(rows)):
            job.count("created")


@app.task(bind=True, base=ImportTask)
def import_slowly(self: ImportTask, rows: int) -> None:  # pragma: no cover - of a soak
    """Import so many rows, some hundred a second."""
    with self.track(total=rows) as job:
        for _ in job.rows(islice(without_end(), rows)):
            job.count("created")


@app.task(bind=True, base=ImportTask)
def import_for_ever(self: ImportTask) -> None:  # pragma: no cover - in a worker
    """Import until stopped."""
    with self.track(stage=str(os.getpid())) as job:
        for _ in job.rows(without_end()):
            pass


@app.task(bind=True, base=ImportTask, acks_late=True, reject_on_worker_lost=True)
def import_at_least_once(self: ImportTask) -> None:  # pragma: no cover - in a worker
    """Import; without an end where the message is delivered for the first time."""
    is_redelivered = (self.request.delivery_info or {}).get("redelivered")
    with self.track(stage=str(os.getpid())) as job:
        for _ in job.rows(range(3) if is_redelivered else without_end()):
            pass


@app.task(
    bind=True,
    base=ImportTask,
    autoretry_for=(ConnectionError,),
    retry_kwargs={"countdown": RETRY_SECONDS, "max_retries": 1},
)
def import_from_afar(self: ImportTask, failures: int) -> None:
    """Fail so often by an error after which Celery tries again by itself."""
    with self.track(total=3) as job:
        for _ in job.rows(range(3)):
            job.count("created")
            if job.processed == 2 and self.request.retries < failures:
                raise ConnectionError


@app.task(bind=True, base=ImportTask)
def import_stubbornly(self: ImportTask, where: str, failures: int = 1) -> None:
    """Fail so often, and ask for a retry inside the `with`, or outside of it."""
    retry: dict[str, Any] = {"countdown": RETRY_SECONDS, "max_retries": 1}
    try:
        with self.track(total=1) as job:
            for _ in job.rows(range(1)):
                if self.request.retries < failures:
                    error = ValidationError("Row 3.")
                    raise self.retry(exc=error, **retry) if where == "inside" else error
    except ValidationError as error:
        if where == "inside":
            raise
        raise self.retry(exc=error, **retry) from None


@app.task(bind=True, base=ImportTask)
def import_badly(self: ImportTask, error: str) -> None:
    """Raise an error in the second row."""
    with self.track() as job:
        for number in job.rows(range(3)):  # pragma: no branch
            if number == 1:
                raise ERRORS[error]


@app.task(bind=True, base=ImportTask)
def import_again_after(self: ImportTask, error: str) -> None:
    """Be retried because of an error in the first attempt."""
    try:
        with self.track() as job:
            for _ in job.rows(range(3)):
                if self.request.retries == 0:
                    raise ERRORS[error]
    except type(ERRORS[error]):
        raise self.retry(countdown=0) from None


@app.task(bind=True, base=ImportTask)
def import_and_go_on(self: ImportTask) -> None:
    """Fail to import, and do something else."""
    try:
        with self.track():
            raise ValidationError("Row 3.")
    except ValidationError:
        pass


@app.task(bind=True, base=ImportTask)
def import_nothing(self: ImportTask, error: str = "") -> None:
    """End before the import begins."""
    if error:
        raise ERRORS[error]


@app.task(bind=True, base=ImportTask, progress_namespace="order_imports")
def import_orders(self: ImportTask) -> None:
    """Import in another namespace, with asyncio."""

    async def run() -> None:
        async with self.track() as job:
            async for _ in job.rows("ab"):
                pass
            if self.request.retries == 0:  # pragma: no branch - 3.11 does not trace it
                raise self.retry(countdown=0)

    asyncio.run(run())


@app.task(bind=True)
def import_plainly(self: Any, rows: int) -> None:  # pragma: no cover - in a worker
    """Do without the base class."""
    with track_import(self.request.id, total=rows) as job:
        for _ in job.rows(range(rows)):
            pass


@app.task(bind=True, base=ImportTask)
def end_in_an_outage(self: ImportTask, redis_pid: int) -> None:  # pragma: no cover - in a worker
    """Stop Redis within the block, and leave it."""
    with self.track() as job:
        leave_in_an_outage(job, redis_pid)


@app.task(bind=True)
def end_plainly_in_an_outage(self: Any, redis_pid: int) -> None:  # pragma: no cover - in a worker
    """Do the same without the base class."""
    with track_import(self.request.id) as job:
        leave_in_an_outage(job, redis_pid)


@app.task(bind=True, base=ImportTask, acks_late=True)
def import_until(  # pragma: no cover - in a worker
    self: ImportTask, path: str, retries: int = 0
) -> None:
    """Import until a file is there; then be retried so often."""
    with self.track(stage=str(os.getpid())) as job:
        for _ in job.rows(takewhile(lambda _: not Path(path).exists(), without_end())):
            pass
        if self.request.retries < retries:
            raise self.retry(countdown=RETRY_SECONDS)


@app.task(bind=True, base=ImportTask)
def fail_before(self: ImportTask, path: str) -> None:
    """Have a tracker, and fail before its block is entered."""
    job = self.track()
    with Path(path).open(), job:  # pragma: no cover - the file is not there
        pass


@app.task(bind=True, base=ImportTask)
def fail_before_and_retry(self: ImportTask) -> None:
    """Fail before the block in the first attempt, and be retried."""
    job = self.track()
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    with job:
        pass


@app.task(bind=True, base=ImportTask)
def import_and_fork(self: ImportTask, how: str) -> None:  # pragma: no cover - in a worker
    """Have a child leave the block in another way, and go on."""
    with self.track() as job:
        if os.fork() == 0:
            raise ERRORS[how]
        os.wait()
        job.advance()


@app.task(bind=True, base=ImportTask)
def be_replaced(self: ImportTask, queue: str = "nobody") -> None:
    """Leave the import to another task, from within the block."""
    with self.track() as job:
        job.advance()
        self.replace(import_rows.s(5).set(countdown=RETRY_SECONDS, queue=queue))
