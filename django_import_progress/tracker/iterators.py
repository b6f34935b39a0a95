"""What counts: the iterables of `job.rows()` and `job.batches()`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from types import AsyncGeneratorType, GeneratorType
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Counter(Protocol):
    """Adds up what loops have counted, and says when they are to end."""

    interrupt: Callable[[], BaseException] | None
    """Makes the exception that is raised after the running row."""

    def open_cell(self) -> list[int]:
        """Return a list of one number, which only one loop increments."""

    def close_cell(self, cell: list[int]) -> None:
        """Add the number for good: the loop has ended."""


def _length(batch: Any) -> int:
    try:
        return len(batch)
    except TypeError as error:
        raise TypeError(
            f"job.batches() counts the length of each batch, and this {type(batch).__name__} has"
            " none: iterate over lists, or over single rows by job.rows()"
        ) from error


class Counted(Generic[T]):
    """What `rows` and `batches` give: to be iterated once, with `for` or `async for`."""

    __slots__ = ("_job", "_source")

    _size: Callable[[Any], int] | None = None
    """How many rows an item is; None: one."""

    def __init__(self, job: Counter, source: Iterable[T] | AsyncIterable[T]) -> None:
        self._job = job
        self._source = source

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of this {type(self._source).__name__}>"

    def __iter__(self) -> Iterator[T]:
        job, size = self._job, self._size
        if isinstance(self._source, AsyncIterable) and not isinstance(self._source, Iterable):
            raise TypeError(f"{self!r} is asynchronous: iterate with `async for`")
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
                    rows = size(item)  # Before the body, which may empty it.
                    yield item
                    cell[0] += rows
                    if job.interrupt is not None:
                        _close(self._source)
                        raise job.interrupt()
        finally:
            job.close_cell(cell)

    async def __aiter__(self) -> AsyncIterator[T]:
        job, size, source = self._job, self._size, self._source
        _check(job)
        cell = job.open_cell()
        try:
            async for item in source if isinstance(source, AsyncIterable) else _in_turn(source):
                rows = 1 if size is None else size(item)
                yield item
                cell[0] += rows
                if job.interrupt is not None:
                    if isinstance(source, AsyncGeneratorType):
                        with suppress(Exception):
                            await source.aclose()
                    _close(source)
                    raise job.interrupt()
        finally:
            job.close_cell(cell)


class Rows(Counted[T]):
    """The rows of `job.rows()`."""

    __slots__ = ()


class Batches(Counted[T]):
    """The batches of `job.batches()`."""

    __slots__ = ()

    _size = staticmethod(_length)


# Python names the class where `len()`, `next()` or an index is refused: by what was called.
Rows.__name__, Batches.__name__ = "job.rows()", "job.batches()"


def _check(job: Counter) -> None:
    if job.interrupt is not None:
        raise job.interrupt()


def _close(source: object) -> None:
    """Close a generator from which no more is taken.

    `queryset.iterator()` would keep its cursor open for as long as anything refers to it, and
    SQLite locked. What it raises is suppressed: it must not replace what stops the loop.
    """
    if isinstance(source, GeneratorType):
        with suppress(Exception):
            source.close()


async def _in_turn(source: Iterable[T]) -> AsyncIterator[T]:
    for item in source:
        yield item
