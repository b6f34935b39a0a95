"""Partial messages: laid over the snapshot on which they build, and over nothing newer."""

from __future__ import annotations

import json

import pytest

from django_import_progress.core.reducer import JobStateReducer
from tests.kit.jobviews import deletion, partial, read, shown, stored, view_of, whole


def test_they_are_merged_over_the_last_snapshot() -> None:
    view = view_of(stored(3, a=1, b=1))
    assert view.apply_message(partial(on=3, b=2))
    assert view.apply_message(partial(on=3, c=3))
    assert (shown(view), view.needs_read) == ({"a": 1, "b": 2, "c": 3}, False)


def test_those_of_another_program_are_merged_too_and_have_the_job_read() -> None:
    view = view_of(stored(3, a=1, b=1))
    assert view.apply_message(partial(b=2))
    assert (shown(view), view.needs_read) == ({"a": 1, "b": 2}, True)
    assert not read(view, stored(3, a=1, b=1))
    assert (shown(view), view.needs_read) == ({"a": 1, "b": 2}, False)


@pytest.mark.parametrize("on", [None, 0])
def test_one_is_shown_before_anything_is_stored(on: int | None) -> None:
    view = JobStateReducer("j1")
    assert view.apply_message(partial(on=on, life=0, status="parsing"))
    assert (shown(view), view.needs_read) == ({"status": "parsing"}, True)
    assert view.state is not None
    assert view.state.owner is None


def test_one_that_builds_on_something_newer_is_shown_and_has_that_read() -> None:
    view = view_of(stored(3, a=3))
    assert view.apply_message(partial(on=4, b=4))
    assert (shown(view), view.needs_read) == ({"a": 3, "b": 4}, True)
    assert read(view, stored(4, a=4))
    assert (shown(view), view.needs_read) == ({"a": 4, "b": 4}, False)


def test_a_read_that_was_sent_before_it_is_not_the_one_that_confirms_it() -> None:
    view = view_of(stored(3, a=3))
    since = view.begin_read()
    assert view.apply_message(partial(on=4, b=4))
    assert not view.apply_read(stored(3, a=3), since)
    assert view.needs_read
    assert read(view, stored(4, a=4))
    assert shown(view) == {"a": 4, "b": 4}


@pytest.mark.parametrize("how", ["message", "read"])
@pytest.mark.parametrize("on", [None, 3])
def test_something_newer_replaces_them_entirely(how: str, on: int | None) -> None:
    view = view_of(stored(3, a=1))
    view.apply_message(partial(on=on, b=2))
    newer = whole(4, a=4) if how == "message" else None
    assert view.apply_message(newer) if newer else read(view, stored(4, a=4))
    assert shown(view) == {"a": 4}


def test_one_that_builds_on_something_older_is_dropped_and_has_the_job_read() -> None:
    view = view_of(None)
    view.apply_message(whole(3, a=1))
    assert not view.apply_message(partial(on=2, a=0))
    assert not view.apply_message(partial(on=9, life=99, a=0))
    assert (shown(view), view.needs_read) == ({"a": 1}, True)


def test_of_two_the_one_that_builds_on_the_newer_snapshot_stays() -> None:
    view = view_of(stored(1, a=1))
    view.apply_message(partial(on=2, b=2))
    view.apply_message(partial(on=3, c=3))
    assert not view.apply_message(partial(on=2, b=0))
    read(view, stored(3, a=3))
    assert shown(view) == {"a": 3, "c": 3}


def test_two_reporters_that_store_first_and_publish_then_show_what_is_stored() -> None:
    view = view_of(stored(1, a=1))
    view.apply_message(partial(on=2, who="A"))
    view.apply_message(partial(on=3, rows=5))
    read(view, stored(3, who="B", rows=5))
    assert shown(view) == {"who": "B", "rows": 5}


def test_one_of_another_program_is_laid_over_what_a_reporter_builds_on() -> None:
    view = view_of(stored(1, a=1))
    view.apply_message(partial(on=2, b=2))
    view.apply_message(partial(c=3))
    read(view, stored(2, a=2))
    assert shown(view) == {"a": 2, "b": 2, "c": 3}


def test_no_clock_decides() -> None:
    view = view_of(stored(3, n=1, updated_at="2026-01-01T00:01:00+00:00"))
    assert view.apply_message(partial(on=3, n=2, updated_at="2026-01-01T00:00:00+00:00"))
    assert view.apply_message(partial(n=3, updated_at="2027-01-01T00:00:00+00:00"))
    assert read(view, stored(4, n=4, updated_at="2026-01-01T00:02:00+00:00"))
    assert shown(view)["n"] == 4


def test_a_request_to_cancel_keeps_them() -> None:
    view = view_of(stored(1, status="queued"))
    view.apply_message(partial(on=1, rows=50))
    cancelled = {"status": "queued", "_l": 100, "_v": 1, "_c": 1, "_db": 0}
    assert view.apply_message(json.dumps(cancelled))
    assert view.state is not None
    assert (shown(view)["rows"], view.state.cancelling) == (50, True)
    assert view.apply_message(partial(on=1, rows=60))
    assert (shown(view)["rows"], view.state.cancelling) == (60, True)


def test_what_another_program_wrote_into_the_hash_replaces_them() -> None:
    view = view_of(stored(3, a=1))
    view.apply_message(partial(on=3, a=2))
    assert read(view, stored(3, a=3), heartbeat=True)
    assert shown(view) == {"a": 3}


def test_where_redis_has_gone_back_they_stay_until_something_newer_is_stored() -> None:
    view = view_of(stored(9, a=9))
    read(view, stored(3, a=3))
    assert view.apply_message(partial(on=9, b=9))
    assert not read(view, stored(3, a=3))
    assert shown(view) == {"a": 3, "b": 9}
    assert view.apply_message(partial(on=9, c=9))  # Its publisher has written nothing since.
    assert shown(view) == {"a": 3, "b": 9, "c": 9}
    assert view.apply_message(whole(4, a=4))
    assert shown(view) == {"a": 4}


# Ends.


def test_an_end_is_shown_once_a_read_has_confirmed_it() -> None:
    view = view_of(stored(3, status="importing", n=1))
    assert not view.apply_message(partial(on=3, status="done"))
    assert (shown(view)["status"], view.needs_read) == ("importing", True)
    assert read(view, stored(3, status="importing", n=1))
    assert shown(view) == {"status": "done", "n": 1}
    assert view.state is not None
    assert (view.state.ended, view.state.gone) == (True, False)


def test_the_last_state_is_the_stored_one() -> None:
    view = view_of(stored(1, status="importing", rows=95))
    view.apply_message(partial(on=1, rows=100))
    assert not view.apply_message(partial(on=2, status="done"))
    assert read(view, stored(2, status="done", rows=95))
    assert shown(view) == {"status": "done", "rows": 95}


@pytest.mark.parametrize("on", [None, 3, 4])
def test_nothing_is_merged_over_a_stored_end(on: int | None) -> None:
    view = view_of(stored(3, status="done", rows=100))
    assert not view.apply_message(partial(on=on, rows=90))
    assert not view.apply_message(partial(on=on, status="importing"))
    assert not view.apply_message(partial(on=on, status="failed"))
    assert (shown(view), view.needs_read) == ({"status": "done", "rows": 100}, True)


def test_a_late_end_of_an_earlier_run_ends_nobody() -> None:
    view = view_of(stored(6, status="importing"))
    assert not view.apply_message(partial(on=5, status="done"))
    assert not view.apply_message(partial(on=99, life=99, status="done"))
    assert not read(view, stored(6, status="importing"))
    assert shown(view) == {"status": "importing"}


def test_an_end_of_a_run_that_was_followed_by_another_is_dropped() -> None:
    view = view_of(stored(5, status="importing"))
    assert not view.apply_message(partial(on=5, status="done"))
    assert read(view, stored(6, status="importing", n=1))
    assert shown(view) == {"status": "importing", "n": 1}


def test_a_read_that_was_sent_before_an_end_does_not_confirm_it() -> None:
    view = view_of(stored(3, status="importing"))
    since = view.begin_read()
    assert not view.apply_message(partial(on=3, status="done"))
    assert not view.apply_read(stored(3, status="importing"), since)
    assert shown(view)["status"] == "importing"
    assert read(view, stored(3, status="importing"))
    assert shown(view)["status"] == "done"


@pytest.mark.parametrize("status", ["importing", "done"])
def test_until_an_end_is_confirmed_what_was_stored_since_is_shown(status: str) -> None:
    view = view_of(stored(3, status=status, n=3))
    since = view.begin_read()
    assert not view.apply_message(partial(on=4, status="done", n=5))
    assert view.apply_read(stored(4, status="importing", n=4), since)
    assert (shown(view), view.needs_read) == ({"status": "importing", "n": 4}, True)
    assert read(view, stored(4, status="importing", n=4))
    assert shown(view) == {"status": "done", "n": 5}


def test_an_end_is_confirmed_though_further_messages_come_in() -> None:
    view = view_of(stored(3, status="importing"))
    view.apply_message(partial(on=3, status="done"))
    since = view.begin_read()
    for number in range(3):
        assert not view.apply_message(partial(n=number))
    assert view.apply_read(stored(3, status="importing"), since)
    assert shown(view) == {"status": "done"}


def test_an_end_over_an_older_snapshot_does_not_hide_what_builds_on_a_newer_one() -> None:
    view = view_of(stored(3, status="importing"))
    assert not view.apply_message(partial(status="done"))
    assert view.apply_message(partial(on=4, n=5))
    assert read(view, stored(4, status="importing"))
    assert shown(view) == {"status": "importing", "n": 5}


def test_what_builds_on_a_new_run_is_shown_once_that_is_read() -> None:
    view = view_of(stored(3, status="done"))
    assert not view.apply_message(partial(on=4, n=5))
    assert (shown(view), view.needs_read) == ({"status": "done"}, True)
    assert read(view, stored(4, status="importing"))
    assert shown(view) == {"status": "importing", "n": 5}


@pytest.mark.parametrize("heartbeat", [False, True])
def test_an_end_of_a_job_that_is_nowhere_stored_is_shown(heartbeat: bool) -> None:
    view = JobStateReducer("j1")
    assert view.apply_message(partial(status="importing"))
    assert not view.apply_message(partial(status="done"))
    assert read(view, None, heartbeat=heartbeat)
    assert shown(view) == {"status": "done"}


def test_an_end_of_a_job_that_was_deleted_is_not() -> None:
    view = JobStateReducer("j1")
    view.apply_message(partial(status="done"))
    assert read(view, deletion())
    assert shown(view) == "gone"


# Databases.


@pytest.mark.parametrize(
    "message",
    [
        {"a": 2, "_l": 100, "_v": 4},
        {"a": 2, "_l": 1, "_v": 1, "_m": [100, 3]},
        {"status": "done", "_l": 1, "_v": 1, "_m": [100, 3]},
        {"_gone": 100},
    ],
)
def test_a_message_of_another_database_is_none_of_ours(message: dict[str, object]) -> None:
    view = JobStateReducer("j1", database=1)
    read(view, stored(3, a=1))
    assert not view.apply_message(json.dumps({**message, "_db": 0}))
    assert (shown(view), view.needs_read) == ({"a": 1}, False)
    view.apply_message(json.dumps({**message, "_db": 1}))
    assert view.needs_read or shown(view) != {"a": 1}
