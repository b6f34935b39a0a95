"""Reads and messages of one job, for tests of what a watcher sees of them."""

from __future__ import annotations

import json
from typing import Any

from django_import_progress.core.reducer import JobStateReducer
from django_import_progress.core.snapshot import Stored


def stored(version: int, life: int = 100, owner: str | None = "7", **fields: Any) -> Stored:
    """Return what a read finds."""
    return Stored(fields=fields, life=life, version=version, owner=owner)


def outcome(version: int, life: int = 100, **fields: Any) -> Stored:
    """Return what a read finds of a job that has ended, and whose snapshot has expired."""
    return Stored(fields={**fields, "expired": True}, life=life, version=version, expired=True)


def deletion(life: int = 100, version: int = 3) -> Stored:
    """Return what a read finds of a job that was deleted."""
    return Stored(fields={}, life=life, version=version, expired=True, deleted=True)


def whole(version: int, life: int = 100, owner: str | None = "7", **fields: Any) -> bytes:
    """Return a message of a whole snapshot."""
    return json.dumps({**fields, "_l": life, "_v": version, "_o": owner, "_db": 0}).encode()


def partial(*, on: int | None = None, life: int = 100, **fields: Any) -> bytes:
    """Return a message of `publish_update` that builds on version `on`, or of another program."""
    mark = {} if on is None else {"_l": 1, "_v": 1, "_m": [life, on], "_db": 0}
    return json.dumps({**fields, **mark}).encode()


def read(view: JobStateReducer, found: Stored | None, *, heartbeat: bool = False) -> bool:
    """Apply a read that nothing has overtaken; whether watchers see a change."""
    return view.apply_read(found, view.begin_read(), heartbeat=heartbeat)


def view_of(first: Stored | None) -> JobStateReducer:
    """Return a view that has read `first`."""
    view = JobStateReducer("j1")
    read(view, first)
    return view


def shown(view: JobStateReducer) -> Any:
    """Return what a watcher sees; "gone" where the job is."""
    assert view.state is not None
    return "gone" if view.state.gone else dict(view.state.fields)
