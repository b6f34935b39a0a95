"""The WebSocket door: one job, or whichever the client names, as JSON text.

ASGI applications for Channels' `URLRouter`, and no consumers of Channels' own: those have no place
for what must be done when the server cancels them, and hop to a thread for each message.

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
from .limits import open_streams
from .stream_opening import too_many
from .websocket import TRY_AGAIN, Receive, Send, Socket

Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


def job_consumer(namespace: str | None = None) -> Application:
    """Return what serves `jobs/<job>/`: the job's representations, and 1000 after the end."""

    async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        manager, visitor = get_guarded_manager(namespace), visitor_at(scope)
        if not await _is_welcome(scope, receive, send):
            return
        try:
            async with borrowed_thread():
                reference = scope["url_route"]["kwargs"]["job"]
                grant = await admit(reference, "watch", user=visitor.user, manager=manager)
        except ProgressUnavailable:
            await _turn_away(send)
            return
        if grant is None:
            await _refuse(send)
        else:
            await _serve(receive, send, manager, visitor, only=grant)

    return application


def jobs_consumer(namespace: str | None = None) -> Application:
    """Return what serves the prefix itself: the jobs that the client says it wants to watch."""

    async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        manager, visitor = get_guarded_manager(namespace), visitor_at(scope)
        if await _is_welcome(scope, receive, send):
            await _serve(receive, send, manager, visitor)

    return application


async def refusal(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve what cannot be a job: as one that is not there."""
    await receive()
    await _refuse(send)


async def _is_welcome(scope: dict[str, Any], receive: Receive, send: Send) -> bool:
    await receive()  # websocket.connect
    if is_foreign(scope["headers"], scope.get("server")):
        await _refuse(send)
        return False
    return True


async def _refuse(send: Send) -> None:
    """Close before accepting: the server answers the handshake with 403, whatever the reason."""
    await send({"type": "websocket.close"})


async def _turn_away(send: Send) -> None:
    # Only after accepting the client is told the code.
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
        await _turn_away(send)
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
