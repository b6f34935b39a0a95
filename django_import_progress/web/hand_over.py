"""Hands an event stream over from the view to `ProgressStreams`, as X-Accel-Redirect does.

Django decides: middleware, session and permission as for every request. The view leaves the open
stream here and returns an empty response with a marker. Once Django has finished with it,
`ProgressStreams` sends the stream under its headers. So nothing of the request is kept: no thread,
no database connection, no task of Django's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.http import HttpRequest, HttpResponse

from .event_stream import HEADERS
from .push import Message, PushedStream, Receive, Send

Scope = MutableMapping[str, Any]
Headers = list[tuple[bytes, bytes]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_KEY = "import_progress.hand_over"
"""The key of the `HandOver` in the scope of a request."""
MARKER = "X-Import-Progress-Stream"
"""Header of the response that stands for a stream. Middleware may return another response instead:
one without it is sent as it is."""
_MARKER = MARKER.lower().encode()
_NOT_SENT = {_MARKER, b"content-length"}


class HandOver:
    """One request whose view may leave a stream.

    Attributes:
        stream: the stream that the view has opened; None if it was returned, or there is none.
    """

    def __init__(self) -> None:
        self.stream: PushedStream | None = None
        self._headers: Headers | None = None
        """The headers of Django's response, if it stands for the stream."""
        self._has_disconnected = False

    def accept(self, stream: PushedStream) -> HttpResponse:
        """Take the stream; return the response that stands for it."""
        self.stream = stream
        return HttpResponse(headers={**HEADERS, MARKER: ""})

    async def ask(
        self, application: Application, scope: Scope, receive: Receive, send: Send
    ) -> tuple[PushedStream, Headers] | None:
        """Let Django respond; return the stream that its view has left, with its headers.

        None if the response was another one, or the client has disconnected.
        """

        async def receive_and_note() -> Message:
            message = await receive()
            # A server need not report it again.
            self._has_disconnected |= message["type"] == "http.disconnect"
            return message

        async def send_unless_marked(message: Message) -> None:
            if message["type"] == "http.response.start" and self._stands_for_stream(message):
                return
            if self._headers is None:
                await send(message)

        try:
            await application({**scope, _KEY: self}, receive_and_note, send_unless_marked)
            if self.stream is not None and self._headers is not None and not self._has_disconnected:
                stream, self.stream = self.stream, None
                return stream, self._headers
            return None
        finally:
            if self.stream is not None:
                self.stream.close()

    def _stands_for_stream(self, start: Message) -> bool:
        headers = start.get("headers", ())
        if self.stream is not None and _MARKER in {name.lower() for name, _ in headers}:
            self._headers = [header for header in headers if header[0].lower() not in _NOT_SENT]
        return self._headers is not None


def hand_over_of(request: HttpRequest) -> HandOver | None:
    """Return where to leave the request's stream; None without `ProgressStreams`."""
    scope: Scope = getattr(request, "scope", {})
    return scope.get(_KEY)
