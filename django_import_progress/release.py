"""What Django holds for a request, let go once its stream is open: a thread, and connections.

Each request under ASGI gets a thread of its own for sync code, which lives until the response has
been sent, and with it the database connections that were opened there: for a stream, an hour. At
the latest the signal `request_started`, whose receivers are sync, makes one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections


async def release_request() -> None:
    """End the running request's thread, and close the database connections that it holds.

    Sync code that runs for the request later on, such as the closing of its response, is given
    another thread.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is not None and context in SyncToAsync.context_to_thread_executor:
        await sync_to_async(connections.close_all)()
        SyncToAsync.context_to_thread_executor.pop(context).shutdown(wait=False)


@asynccontextmanager
async def borrowed_thread() -> AsyncIterator[None]:
    """Give sync code a thread for a while: for questions to the database while a stream is open.

    Where there is a request it is the request's; under a WebSocket, where all would share one, one
    of its own.
    """
    async with ThreadSensitiveContext():
        try:
            yield
        finally:
            await release_request()
