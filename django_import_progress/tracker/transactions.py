"""Waits until the database transactions that are open now are committed or rolled back."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakSet

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper


class Over(enum.Enum):
    """How the transactions have ended."""

    COMMITTED = enum.auto()
    ROLLED_BACK = enum.auto()
    TEST_OVER = enum.auto()
    """Django's `TestCase` rolls back its own at the end of each test: that is nobody's failure."""


Then = Callable[[Over], None]

WATCH = "_import_progress_watch"


def after_transactions(then: Then, committed: frozenset[str] = frozenset()) -> bool:
    """Call `then` once the transactions that are open in this thread are over.

    Args:
        then: called once, after the last commit or the first rollback.
        committed: aliases that are not waited for. Inside `captureOnCommitCallbacks` a connection
            is still in a transaction when its callbacks run.

    Returns:
        Whether there is anything to wait for; if not, `then` is not called.
    """
    for connection in connections.all(initialized_only=True):
        if connection.alias not in committed and _is_open(connection):
            _wait(connection, partial(_go_on, then, committed | {connection.alias}))
            return True
    return False


def _go_on(then: Then, committed: frozenset[str], over: Over) -> None:
    if over is not Over.COMMITTED or not after_transactions(then, committed):
        then(over)


def _is_open(connection: BaseDatabaseWrapper) -> bool:
    is_manual = connection.connection is not None and not connection.autocommit
    return connection.in_atomic_block or is_manual


def _wait(connection: BaseDatabaseWrapper, then: Then) -> None:
    watch: _Watch = vars(connection).get(WATCH) or _Watch(connection)
    wait = _Wait(watch, then)
    watch.waits.add(wait)
    if connection.in_atomic_block:
        transaction.on_commit(wait.finish, using=connection.alias, robust=True)
    else:
        # Django refuses hooks while autocommit is off. It discards these all the same.
        connection.run_on_commit.append((set(), wait.finish, True))  # type: ignore[arg-type]


class _Wait:
    """Waits for the end of one transaction.

    Only Django's list of hooks has a reference to it. A rollback, also one to a savepoint, discards
    the hook, and this with it. That there is nothing else which tells of one is why this is not
    simpler.
    """

    _then: Then | None = None

    def __init__(self, watch: _Watch, then: Then) -> None:
        self._watch = watch
        self.is_manual = not (watch.connection.in_atomic_block and watch.connection.commit_on_exit)
        """Whether the transaction ends by `connection.commit()`, as autocommit is off."""
        self.is_committed = False
        blocks = watch.connection.atomic_blocks
        self._is_in_a_test = bool(blocks) and getattr(blocks[0], "_from_testcase", False)
        self._then = then  # Last: a signal handler may raise at any moment.

    def finish(self) -> None:
        """Say that the transaction is committed."""
        self.is_committed = True
        then, self._then = self._then, None
        if then is not None:
            then(Over.COMMITTED)

    def __del__(self) -> None:
        then, self._then = self._then, None
        if then is not None and not sys.is_finalizing():
            self._watch.call_when_usable(partial(then, self._over), is_manual=self.is_manual)

    @property
    def _over(self) -> Over:
        if self.is_committed:  # What Django does after that was interrupted.
            return Over.COMMITTED
        is_test_over = self._is_in_a_test and not self._watch.connection.in_atomic_block
        return Over.TEST_OVER if is_test_over else Over.ROLLED_BACK


class _Watch:
    """Notes when a connection commits, and when it can be used again after a transaction.

    Hooks alone do not suffice: Django drops those that follow one which raises, and has none for
    transactions while autocommit is off.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.waits: WeakSet[_Wait] = WeakSet()
        self._due: list[Callable[[], None]] = []
        self._commit, self._set_autocommit = connection.commit, connection.set_autocommit
        own = {WATCH: self, "commit": self._note_commit, "set_autocommit": self._note_autocommit}
        vars(connection).update(own)

    def call_when_usable(self, then: Callable[[], None], *, is_manual: bool) -> None:
        """Call `then` now, or after `Atomic` has turned autocommit on again."""
        connection = self.connection
        self._due.append(then)
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
