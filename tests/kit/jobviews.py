"""Reads and messages of one job, for tests of what a watcher sees of them."""

from __future__ import annotations

import json
from typing import Any

from django_import_progress.core.snapshot import Stored
from django_import_progress.core.view import JobView


def stored(version: int, life: int = 100, owner: str | None = "7", **fields: Any) -> Stored:
    """Return what a read finds."""
    return Stored(fields=fields, life=life, version=version, owner=owner)


def whole(version: int, life: int = 100, **fields: Any) -> bytes:
    """Return a message of ours."""
    return json.dumps({**fields, "_l": life, "_v": version}).encode()


def partial(**fields: Any) -> bytes:
    """Return a message of a foreign publisher, or of `publish_update`."""
    return json.dumps(fields).encode()


def view_of(first: Stored | None) -> JobView:
    """Return a view that has read `first`."""
    view = JobView("j1")
    view.read(first, mark=view.mark, heartbeat=False)
    return view


def shown(view: JobView) -> Any:
    """Return what a watcher sees; "gone" where the job is."""
    assert view.state is not None
    return "gone" if view.state.gone else dict(view.state.fields)
