"""The iterables of `job.rows()` and `job.batches()`, which count."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from types import AsyncGeneratorType, GeneratorType
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Counter(Protocol):
    """Adds up the rows of all loops, and can interrupt them."""

    interrupt: Callable[[], BaseException] | None
    """Creates the exception to raise after the running row."""
    batch: Any
    """The batch of `batches()` whose body is running; None in a loop over rows."""

    def open_cell(self) -> list[int]:
        """Return a list with one number, which only one loop increments."""

    def close_cell(self, cell: list[int]) -> None:
        """Add the number of a loop that has ended to the sum."""


def _length(batch: Any) -> int:
    try:
        return len(batch)
    except TypeError as error:
        raise TypeError(
            f"job.batches() counts the length of each batch, but {type(batch).__name__} has"
            " none: pass lists, or use job.rows() for single rows"
        ) from error


class Counted(Generic[T]):
    """Base of the iterables: iterate once, with `for` or `async for`."""

    __slots__ = ("_job", "_source")

    _size: Callable[[Any], int] | None = None
    """Returns the number of rows in an item; None: always one."""

    def __init__(self, job: Counter, source: Iterable[T] | AsyncIterable[T]) -> None:
        self._job = job
        self._source = source

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of this {type(self._source).__name__}>"

    def __iter__(self) -> Iterator[T]:
        job, size = self._job, self._size
        if isinstance(self._source, AsyncIterable) and not isinstance(self._source, Iterable):
            raise TypeError(f"{self!r} is asynchronous: use `async for`")
        _check(job)
        cell, done = job.open_cell(), 0
        try:
            if size is None:
                for item in self._source:
                    yield item
                    done += 1
                    cell[0] = done
                    if job.interrupt is not None:
                        _close(self._source)
                        raise job.interrupt()
            else:
                for item in self._source:
                    rows = size(item)  # Before the body, which may empty the batch.
                    job.batch = item
                    yield item
                    cell[0] += rows
                    if job.interrupt is not None:
                        _close(self._source)
                        raise job.interrupt()
        finally:
            job.batch = None
            job.close_cell(cell)

    async def __aiter__(self) -> AsyncIterator[T]:
        job, size, source = self._job, self._size, self._source
        _check(job)
        cell = job.open_cell()
        try:
            async for item in source if isinstance(source, AsyncIterable) else _as_async(source):
                rows = 1 if size is None else size(item)
                job.batch = None if size is None else item
                yield item
                cell[0] += rows
                if job.interrupt is not None:
                    if isinstance(source, AsyncGeneratorType):
                        with suppress(Exception):
                            await source.aclose()
                    _close(source)
                    raise job.interrupt()
        finally:
            job.batch = None
            job.close_cell(cell)


class Rows(Counted[T]):
    """The rows of `job.rows()`."""

    __slots__ = ()


class Batches(Counted[T]):
    """The batches of `job.batches()`."""

    __slots__ = ()

    _size = staticmethod(_length)


# Python's errors for `len()`, `next()` or an index name the class: show the method instead.
Rows.__name__, Batches.__name__ = "job.rows()", "job.batches()"


def _check(job: Counter) -> None:
    if job.interrupt is not None:
        raise job.interrupt()


def _close(source: object) -> None:
    """Close a generator that is no longer used.

    Otherwise `queryset.iterator()` keeps its cursor open as long as it is referenced, and SQLite
    locked. Exceptions are suppressed: they must not replace the one that stops the loop.
    """
    if isinstance(source, GeneratorType):
        with suppress(Exception):
            source.close()


async def _as_async(source: Iterable[T]) -> AsyncIterator[T]:
    for item in source:
        yield item
