"""What `job.rows()` and `job.batches()` give: an iterable that counts what is through."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Tally(Protocol):
    """Who is told."""

    processed: int


class Counted(Generic[T]):
    """What `rows` and `batches` give: to be iterated once, with `for` or `async for`."""

    __slots__ = ("_job", "_size", "_source")

    def __init__(
        self,
        job: Tally,
        source: Iterable[T] | AsyncIterable[T],
        size: Callable[[T], int] | None,
    ) -> None:
        self._job = job
        self._source = source
        self._size = size
        """How many rows an item is; None: one."""

    def __iter__(self) -> Iterator[T]:
        job, size = self._job, self._size
        if not isinstance(self._source, Iterable):
            raise TypeError("This is asynchronous: iterate with `async for`")
        if size is None:
            for item in self._source:
                yield item
                job.processed += 1
        else:
            for item in self._source:
                rows = size(item)  # Before the body, which may empty it.
                yield item
                job.processed += rows

    async def __aiter__(self) -> AsyncIterator[T]:
        job, size, source = self._job, self._size, self._source
        async for item in source if isinstance(source, AsyncIterable) else _in_turn(source):
            rows = 1 if size is None else size(item)
            yield item
            job.processed += rows


async def _in_turn(source: Iterable[T]) -> AsyncIterator[T]:
    for item in source:
        yield item
