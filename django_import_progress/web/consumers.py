"""WebSocket consumers: one for a single job, one for the jobs that the client asks for.

They are plain ASGI applications for Channels' `URLRouter`. Channels' own consumer classes have no
hook for clean-up when the server cancels them, and switch to a thread for each message.

Source: https://asgi.readthedocs.io/en/stable/specs/www.html#websocket
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..access.origins import is_foreign
from ..access.permissions import Permission, admit
from ..access.tickets import Grant
from ..access.visitors import Visitor, visitor_at
from ..core.errors import ProgressUnavailable
from ..release import borrowed_thread
from ..service.manager import ProgressManager
from ..service.registry import get_guarded_manager
from .limits import open_streams, too_many
from .websocket import TRY_AGAIN, Receive, Send, Socket

Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


def job_consumer(namespace: str | None = None) -> Application:
    """Return the application for `jobs/<job>/`: it sends a job's states and closes at its end."""

    async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if not await _is_same_origin(scope, receive, send):
            return
        try:
            async with borrowed_thread():
                visitor = await visitor_at(scope)
                manager = get_guarded_manager(namespace or visitor.tenant)
                reference = scope["url_route"]["kwargs"]["job"]
                grant = await admit(reference, "watch", user=visitor.user, manager=manager)
        except ProgressUnavailable:
            await _accept_and_close(send)
            return
        if grant is None:
            await _refuse(send)
        else:
            await _serve(receive, send, manager, visitor, only=grant)

    return application


def jobs_consumer(namespace: str | None = None) -> Application:
    """Return the application for the prefix: it sends the jobs that the client asks for."""

    async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if await _is_same_origin(scope, receive, send):
            async with borrowed_thread():
                visitor = await visitor_at(scope)
            manager = get_guarded_manager(namespace or visitor.tenant)
            await _serve(receive, send, manager, visitor)

    return application


async def refusal(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Refuse an invalid job id, in the same way as a job that does not exist."""
    await receive()
    await _refuse(send)


async def _is_same_origin(scope: dict[str, Any], receive: Receive, send: Send) -> bool:
    await receive()  # websocket.connect
    if is_foreign(scope["headers"], scope.get("server")):
        await _refuse(send)
        return False
    return True


async def _refuse(send: Send) -> None:
    """Close before accepting: the server then responds with 403, whatever the reason."""
    await send({"type": "websocket.close"})


async def _accept_and_close(send: Send) -> None:
    # A client only receives the code after the socket was accepted.
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": TRY_AGAIN})


async def _serve(
    receive: Receive,
    send: Send,
    manager: ProgressManager,
    visitor: Visitor,
    only: Grant | None = None,
) -> None:
    if too_many(visitor.client):
        await _accept_and_close(send)
        return
    socket = Socket(
        receive,
        send,
        manager=manager,
        visitor=visitor,
        permission=Permission(visitor, manager, [] if only is None else [only]),
        only=only,
    )
    open_streams.add(socket, visitor.client)
    try:
        await send({"type": "websocket.accept"})
        await socket.run()
    finally:
        open_streams.discard(socket)
        socket.close()
