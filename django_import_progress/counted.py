"""What counts: the iterables of `job.rows()` and `job.batches()`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Counter(Protocol):
    """Who counts, and says when it is to end."""

    processed: int
    interrupt: type[BaseException] | None
    """What is to be raised at the next row's boundary."""


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


class Rows(Counted[T]):
    """The rows of `job.rows()`."""

    __slots__ = ()


class Batches(Counted[T]):
    """The batches of `job.batches()`."""

    __slots__ = ()

    _size = staticmethod(_length)


# Python names the class where `len()`, `next()` or an index is refused: by what was called.
Rows.__name__, Batches.__name__ = "job.rows()", "job.batches()"


async def _in_turn(source: Iterable[T]) -> AsyncIterator[T]:
    for item in source:
        yield item
