"""Frames of server-sent events, byte for byte."""

from __future__ import annotations

from django_import_progress.core import sse


def test_a_frame_is_data_and_an_empty_line() -> None:
    assert sse.frame(b'{"a":1}') == b'data: {"a":1}\n\n'


def test_event_and_id_come_before_the_data() -> None:
    framed = sse.frame(b"{}", event="gone", event_id="1-2-3")
    assert framed == b"event: gone\nid: 1-2-3\ndata: {}\n\n"


def test_an_end_has_empty_data_since_an_event_without_data_is_dropped() -> None:
    assert sse.frame(b"", event="end") == b"event: end\ndata: \n\n"


def test_the_rest() -> None:
    assert sse.retry(1500) == b"retry: 1500\n\n"
    assert sse.KEEP_ALIVE.startswith(b":")
    assert sse.KEEP_ALIVE.endswith(b"\n\n")
    assert sse.MEDIA_TYPE == "text/event-stream"
