"""What counts: the iterables of `job.rows()` and `job.batches()`, and what may be a count."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from .core.errors import InvalidProgress

T = TypeVar("T")


class OutsideOfTheWith(RuntimeError):
    """Rows were counted before the job was entered, or after it was left: nobody tells of them."""

    def __init__(self) -> None:
        super().__init__(
            "Rows are counted inside the `with` alone: put the loop into"
            " `with track_import(job_id) as job:`"
        )


class Counter(Protocol):
    """Who counts, and says when it is to end."""

    processed: int
    interrupt: type[BaseException] | None
    """What is to be raised at the next row's boundary."""


class Counted(Generic[T]):
    """What `rows` and `batches` give: to be iterated once, with `for` or `async for`."""

    __slots__ = ("_job", "_size", "_source")

    def __init__(
        self,
        job: Counter,
        source: Iterable[T] | AsyncIterable[T],
        size: Callable[[T], int] | None,
    ) -> None:
        self._job = job
        self._source = source
        self._size = size
        """How many rows an item is; None: one."""

    def __iter__(self) -> Iterator[T]:
        job, size = self._job, self._size
        if isinstance(self._source, AsyncIterable) and not isinstance(self._source, Iterable):
            raise TypeError("This is asynchronous: iterate with `async for`")
        if job.interrupt is not None:
            raise job.interrupt
        if size is None:
            for item in self._source:
                yield item
                job.processed += 1
                if job.interrupt is not None:
                    raise job.interrupt
        else:
            for item in self._source:
                rows = size(item)  # Before the body, which may empty it.
                yield item
                job.processed += rows
                if job.interrupt is not None:
                    raise job.interrupt

    async def __aiter__(self) -> AsyncIterator[T]:
        job, size, source = self._job, self._size, self._source
        if job.interrupt is not None:
            raise job.interrupt
        async for item in source if isinstance(source, AsyncIterable) else _in_turn(source):
            rows = 1 if size is None else size(item)
            yield item
            job.processed += rows
            if job.interrupt is not None:
                raise job.interrupt


async def _in_turn(source: Iterable[T]) -> AsyncIterator[T]:
    for item in source:
        yield item


def checked_count(n: object) -> int:
    """Return `n`; raises `InvalidProgress` where it is no whole number."""
    if isinstance(n, int):
        return n
    raise InvalidProgress(f"{n!r} is no count: pass a whole number")


def checked_rows(name: str, rows: object) -> int | None:
    """Return `rows`; raises `InvalidProgress` where it is neither a number of rows nor None."""
    if rows is None or (type(rows) is int and rows >= 0):
        return rows
    raise InvalidProgress(f"{name} is {rows!r}: pass a whole number of rows, or None if unknown")
