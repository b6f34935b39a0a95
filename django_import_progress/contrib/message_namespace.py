"""The namespace of a message's job: that of the tenant whose process sent the message.

The process that runs the task need not know the tenant, and that which waits for it does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ..conf import settings

NAMESPACE_HEADER = "progress_namespace"
"""Header with the sender's namespace, if `NAMESPACE` is a callable."""

_handled: ContextVar[Mapping[str, Any] | None] = ContextVar("headers", default=None)


@contextmanager
def handling(headers: Mapping[str, Any] | None) -> Iterator[None]:
    """Make these headers those of the signals that Celery sends meanwhile without a message."""
    token = _handled.set(headers)
    try:
        yield
    finally:
        _handled.reset(token)


def namespace_of(task: Any, headers: Mapping[str, Any] | None) -> str | None:
    """Return the namespace of the job of a message; None: the setting's.

    Args:
        task: the `ImportTask`.
        headers: the headers of the message; None if they are not known.
    """
    found = (headers or _handled.get() or {}).get(NAMESPACE_HEADER)
    namespace: str | None = found or task.progress_namespace
    return namespace


def with_namespace(task: Any, headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers of a message that is about to be sent."""
    if task.progress_namespace or not settings.has_tenants or headers.get(NAMESPACE_HEADER):
        return dict(headers)
    return {**headers, NAMESPACE_HEADER: settings.namespace}
