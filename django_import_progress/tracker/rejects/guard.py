"""`job.guard()`: rejects one row instead of ending the import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, connections, transaction

from ...cancellation import result_of, without_waiting
from ..outcome import flatten

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]
Exposed = type[BaseException] | tuple[type[BaseException], ...]

NO_DATABASE = "django.db.backends.dummy"
"""The engine of a project without databases: there is nothing to roll back."""


class _Rejecter(Protocol):
    def _check_tracking(self) -> None:
        """Raise `NotTracking` outside the `with` block."""

    def reject(self, row: Any, reason: object, *, line: int | None = None) -> None:
        """Count a row as rejected."""


def exception_classes(expose: Exposed) -> tuple[type[BaseException], ...]:
    """Return `expose` as a tuple.

    Raises:
        TypeError: it is not an exception class or a tuple of them.
    """
    kinds = tuple(expose) if isinstance(expose, tuple | list) else (expose,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise TypeError(f"Invalid expose {expose!r}: pass an exception class or a tuple of them")
    return kinds


class Guard:
    """Context manager around the body of one row: see `Rejecting.guard`."""

    def __init__(
        self,
        job: _Rejecter,
        row: Any,
        line: int | None,
        kinds: tuple[type[BaseException], ...],
        *,
        using: str | None,
        is_atomic: bool,
    ) -> None:
        self._job = job
        self._row = row
        self._line = line
        self._kinds: tuple[type[BaseException], ...] = (ValidationError, *kinds)
        alias = using or DEFAULT_DB_ALIAS
        engine = connections.settings.get(alias, {}).get("ENGINE")
        has_database = is_atomic and engine != NO_DATABASE
        self._savepoint: Any = transaction.atomic(using=alias) if has_database else None

    def __enter__(self) -> Guard:
        return without_waiting(self._enter(_same))

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return without_waiting(self._exit(_same, kind, error, trace))

    async def __aenter__(self) -> Guard:
        return await self._enter(sync_to_async)

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return await self._exit(sync_to_async, kind, error, trace)

    async def _enter(self, in_thread: Wrap) -> Guard:
        """Begin the savepoint.

        Args:
            in_thread: makes a function run in Django's thread for sync code, if it has to.
        """
        self._job._check_tracking()  # noqa: SLF001 - it is the guard of this tracker
        if self._savepoint is not None:
            await result_of(in_thread(self._savepoint.__enter__)())
        return self

    async def _exit(
        self, in_thread: Wrap, kind: object, error: BaseException | None, trace: object
    ) -> bool:
        """End the savepoint, and reject the row if its body or the commit has failed."""
        if self._savepoint is not None:
            try:
                await result_of(in_thread(self._savepoint.__exit__)(kind, error, trace))
            except Exception as failure:  # Of a constraint that is checked at the commit.
                if not self._rejects(failure):
                    raise
                error = failure
        if error is None or not self._rejects(error):
            return False
        [first, *_] = flatten(error)
        self._job.reject(self._row, first, line=self._line)
        return True

    def _rejects(self, error: BaseException) -> bool:
        return all(isinstance(part, self._kinds) for part in flatten(error))


def _same(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
