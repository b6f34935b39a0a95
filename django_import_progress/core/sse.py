"""Frames of an event stream.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

MEDIA_TYPE = "text/event-stream"
KEEP_ALIVE = b":\n\n"
"""A comment: it keeps proxies from closing an idle stream, and no client sees it."""


def frame(data: bytes, *, event: str = "", event_id: str = "") -> bytes:
    r"""Return one event.

    Args:
        data: UTF-8 without a line end; JSON never has a raw one, so no value can end the event.
        event: the event's type; the browser's default is ``message``.
        event_id: what the client sends back as ``Last-Event-ID``; ours, so never a line end or NUL.
    """
    head = f"event: {event}\n" if event else ""
    if event_id:
        head += f"id: {event_id}\n"
    return b"%sdata: %s\n\n" % (head.encode(), data)


def id_only(event_id: str) -> bytes:
    """Return an id without an event: the client sends it back, and is shown nothing."""
    return b"id: %s\n\n" % event_id.encode()


def retry(milliseconds: int) -> bytes:
    """Return the field that tells a client how long to wait before it reconnects."""
    return b"retry: %d\n\n" % milliseconds


def end(event_id: str = "") -> bytes:
    """Return the event that comes after the last snapshot."""
    return frame(b"", event="end", event_id=event_id)
