"""Releases what Django keeps for a request with a stream (`cancellation` needs no Django).

Under ASGI each request gets its own thread for sync code. It lives until the response has been
sent, together with the database connections that were opened in it: for a stream, an hour. Every
request has one, since the receivers of the signal `request_started` are sync.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections


async def release_request() -> None:
    """End the current request's thread, and close its database connections.

    Sync code that runs for the request later, such as closing its response, gets another thread.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is not None and context in SyncToAsync.context_to_thread_executor:
        await sync_to_async(connections.close_all)()
        SyncToAsync.context_to_thread_executor.pop(context).shutdown(wait=False)


@asynccontextmanager
async def borrowed_thread() -> AsyncIterator[None]:
    """Provide a thread for sync code, such as database queries, while a stream is open.

    It is the request's thread if there is a request. A WebSocket gets a separate one, since
    otherwise all WebSockets would share a single thread.
    """
    async with ThreadSensitiveContext():
        try:
            yield
        finally:
            await release_request()
