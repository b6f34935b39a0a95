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


def after_transactions(
    callback: Callback, committed: frozenset[str] = frozenset(), *, in_test: bool = False
) -> bool:
    """Call `callback` once the transactions that are open in this thread are over.

    Args:
        callback: called once, after the last commit or the first rollback.
        committed: aliases that are not waited for. Inside `captureOnCommitCallbacks` a connection
            is still in a transaction when its callbacks run.
        in_test: whether to ignore the transactions of Django's `TestCase`, which never commits:
            those inside them count as committed when their savepoint is released.

    Returns:
        Whether a transaction is open; if not, `callback` is not called.
    """
    for connection in connections.all(initialized_only=True):
        if connection.alias not in committed and _is_open(connection, in_test=in_test):
            after = partial(_continue, callback, committed | {connection.alias}, in_test)
            _wait(connection, after, in_test=in_test)
            return True
    return False


def _continue(
    callback: Callback, committed: frozenset[str], in_test: bool, end: TransactionEnd
) -> None:
    """Wait for the transactions on other connections, or call back."""
    is_over = end is not TransactionEnd.COMMITTED
    if is_over or not after_transactions(callback, committed, in_test=in_test):
        callback(end)


def _is_open(connection: BaseDatabaseWrapper, *, in_test: bool) -> bool:
    if connection.in_atomic_block:
        return not (in_test and _is_only_in_tests(connection))
    return connection.connection is not None and not connection.autocommit


def _is_only_in_tests(connection: BaseDatabaseWrapper) -> bool:
    """Return whether all open blocks are those of Django's `TestCase`."""
    return all(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


def _wait(connection: BaseDatabaseWrapper, callback: Callback, *, in_test: bool) -> None:
    hooks: _ConnectionHooks = vars(connection).get(ATTRIBUTE) or _ConnectionHooks(connection)
    wait = _Wait(hooks, callback, in_test=in_test)
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

    def __init__(self, hooks: _ConnectionHooks, callback: Callback, *, in_test: bool) -> None:
        self._hooks = hooks
        self.in_test = in_test
        """Whether the transactions of Django's `TestCase` are ignored."""
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
        self._savepoint_commit = connection.savepoint_commit
        patches = {
            "commit": self._note_commit,
            "set_autocommit": self._note_autocommit,
            "savepoint_commit": self._note_savepoint,
        }
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

    def _note_savepoint(self, sid: str) -> None:
        self._savepoint_commit(sid)
        if _is_only_in_tests(self.connection):
            for wait in [wait for wait in self.waits if wait.in_test]:
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
