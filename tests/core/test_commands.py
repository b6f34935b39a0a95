"""What a WebSocket client may say, and how much."""

from __future__ import annotations

import json

import pytest

from django_import_progress.core.pacing import TokenBucket
from django_import_progress.web.websocket import Command, parse_command


@pytest.mark.parametrize("verb", ["watch", "unwatch", "cancel"])
def test_a_command_names_what_to_do_and_a_job(verb: str) -> None:
    text = json.dumps({"action": verb, "job": "a", "more": 1})
    assert parse_command(text) == Command(verb, "a")  # type: ignore[arg-type]


def test_an_allowance_is_so_much_at_once_and_so_much_a_second() -> None:
    allowance = TokenBucket(2, 8)
    assert [allowance.take(7.0) for _ in range(3)] == [True, True, False]
    assert [allowance.take(7.125), allowance.take(7.125)] == [True, False]
    assert [allowance.take(99.0) for _ in range(3)] == [True, True, False]
