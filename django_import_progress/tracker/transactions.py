"""Call back once the database transactions that are open now are committed or rolled back."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakSet

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper


class TransactionEnd(enum.Enum):
    """How the transactions have ended."""

    COMMITTED = enum.auto()
    ROLLED_BACK = enum.auto()
    TEST_OVER = enum.auto()
    """Rolled back by Django's `TestCase` at the end of a test, which is not a failure."""


Callback = Callable[[TransactionEnd], None]

ATTRIBUTE = "_import_progress_hooks"
"""Attribute of a connection that holds its `_ConnectionHooks`."""


def after_transactions(callback: Callback, committed: frozenset[str] = frozenset()) -> bool:
    """Call `callback` once the transactions that are open in this thread are over.

    Args:
        callback: called once, after the last commit or the first rollback.
        committed: aliases that are not waited for. Inside `captureOnCommitCallbacks` a connection
            is still in a transaction when its callbacks run.

    Returns:
        Whether a transaction is open; if not, `callback` is not called.
    """
    for connection in connections.all(initialized_only=True):
        if connection.alias not in committed and _is_open(connection):
            _wait(connection, partial(_continue, callback, committed | {connection.alias}))
            return True
    return False


def _continue(callback: Callback, committed: frozenset[str], end: TransactionEnd) -> None:
    """Wait for the transactions on other connections, or call back."""
    if end is not TransactionEnd.COMMITTED or not after_transactions(callback, committed):
        callback(end)


def _is_open(connection: BaseDatabaseWrapper) -> bool:
    is_manual = connection.connection is not None and not connection.autocommit
    return connection.in_atomic_block or is_manual


def _wait(connection: BaseDatabaseWrapper, callback: Callback) -> None:
    hooks: _ConnectionHooks = vars(connection).get(ATTRIBUTE) or _ConnectionHooks(connection)
    wait = _Wait(hooks, callback)
    hooks.waits.add(wait)
    if connection.in_atomic_block:
        transaction.on_commit(wait.finish, using=connection.alias, robust=True)
    else:
        # Django refuses hooks while autocommit is off, but discards these like any other.
        connection.run_on_commit.append((set(), wait.finish, True))  # type: ignore[arg-type]


class _Wait:
    """Waits for the end of one transaction.

    Only Django's list of hooks refers to it. A rollback, also one to a savepoint, discards the
    hook, and this object with it. Django reports rollbacks in no other way.
    """

    _callback: Callback | None = None

    def __init__(self, hooks: _ConnectionHooks, callback: Callback) -> None:
        self._hooks = hooks
        self.is_manual = not (hooks.connection.in_atomic_block and hooks.connection.commit_on_exit)
        """Whether autocommit is off, so that `connection.commit()` ends the transaction."""
        self.is_committed = False
        blocks = hooks.connection.atomic_blocks
        self._is_in_a_test = bool(blocks) and getattr(blocks[0], "_from_testcase", False)
        self._callback = callback  # Last: a signal handler may raise at any moment.

    def finish(self) -> None:
        """Call back: the transaction is committed."""
        self.is_committed = True
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(TransactionEnd.COMMITTED)

    def __del__(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None and not sys.is_finalizing():
            self._hooks.call_when_usable(partial(callback, self._end), is_manual=self.is_manual)

    @property
    def _end(self) -> TransactionEnd:
        if self.is_committed:  # Django was interrupted after the commit.
            return TransactionEnd.COMMITTED
        is_test_over = self._is_in_a_test and not self._hooks.connection.in_atomic_block
        return TransactionEnd.TEST_OVER if is_test_over else TransactionEnd.ROLLED_BACK


class _ConnectionHooks:
    """Notes when a connection commits, and when it can be used again after a transaction.

    Django's hooks alone are not enough: those after one that raises are dropped, and there are
    none for transactions while autocommit is off.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.waits: WeakSet[_Wait] = WeakSet()
        self._due: list[Callable[[], None]] = []
        self._commit, self._set_autocommit = connection.commit, connection.set_autocommit
        patches = {"commit": self._note_commit, "set_autocommit": self._note_autocommit}
        vars(connection).update({ATTRIBUTE: self, **patches})

    def call_when_usable(self, call: Callable[[], None], *, is_manual: bool) -> None:
        """Call now, or after `Atomic` has turned autocommit on again."""
        connection = self.connection
        self._due.append(call)
        if is_manual or connection.in_atomic_block or connection.autocommit:
            self._call_due()

    def _call_due(self) -> None:
        while self._due:
            self._due.pop(0)()

    def _note_commit(self) -> None:
        self._commit()
        for wait in list(self.waits):
            wait.is_committed = True
            if wait.is_manual:
                wait.finish()

    def _note_autocommit(self, autocommit: bool, *args: Any, **options: Any) -> None:
        try:
            self._set_autocommit(autocommit, *args, **options)
        finally:
            if autocommit:
                for wait in list(self.waits):
                    if wait.is_committed:  # Its hook came after one that raised.
                        wait.finish()
                self._call_due()
