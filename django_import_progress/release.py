"""What Django holds for a request, let go once its stream is open: a thread, and connections.

Each request under ASGI gets a thread of its own for sync code, which lives until the response has
been sent, and with it the database connections that were opened there: for a stream, an hour. At
the latest the signal `request_started`, whose receivers are sync, makes one.
"""

from __future__ import annotations

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import connections


async def release_request() -> None:
    """End the running request's thread, and close the database connections that it holds.

    Sync code that runs for the request later on, such as the closing of its response, is given
    another thread.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    executor = SyncToAsync.context_to_thread_executor.get(context) if context else None
    if executor is None:
        return  # No handler of Django's made it, or it is gone already.
    await sync_to_async(_close_connections)()
    del SyncToAsync.context_to_thread_executor[context]
    executor.shutdown(wait=False)


def _close_connections() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
