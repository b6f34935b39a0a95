"""What a WebSocket client may say, whatever it says."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_import_progress.core.commands import BadCommand, Command, parse_command
from django_import_progress.core.pacing import Allowance

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize("verb", ["watch", "unwatch", "cancel"])
def test_a_command_names_what_to_do_and_a_job(verb: str) -> None:
    text = json.dumps({"action": verb, "job": "a", "more": 1})
    assert parse_command(text) == Command(verb, "a")  # type: ignore[arg-type]


@given(st.text() | JSON.map(json.dumps))
def test_anything_else_is_told_what_a_command_is(text: str) -> None:
    with pytest.raises(BadCommand, match=r"\w"):
        parse_command(text)


@given(JSON | st.sampled_from(["watch", "cancel"]), JSON)
def test_a_command_is_read_or_refused(action: object, job: object) -> None:
    with suppress(BadCommand):
        assert parse_command(json.dumps({"action": action, "job": job})) == Command(action, job)  # type: ignore[arg-type]


def test_an_allowance_is_so_much_at_once_and_so_much_a_second() -> None:
    allowance = Allowance(2, 8)
    assert [allowance.take(7.0) for _ in range(3)] == [True, True, False]
    assert [allowance.take(7.125), allowance.take(7.125)] == [True, False]
    assert [allowance.take(99.0) for _ in range(3)] == [True, True, False]
