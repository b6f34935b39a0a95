"""The state of a watched job, out of reads and whole messages in any order."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from django_import_progress.core.reducer import MAX_MESSAGE_BYTES, JobStateReducer, JunkMessage
from django_import_progress.core.snapshot import Stored
from tests.kit.jobviews import deletion, outcome, partial, read, shown, stored, view_of, whole


def test_nothing_is_shown_until_something_is_known() -> None:
    view = view_of(None)
    assert (view.state, view.order) == (None, (0, 0, 0))


def test_the_first_read_is_shown_with_its_owner() -> None:
    view = view_of(stored(3, a=1))
    assert view.state is not None
    assert (shown(view), view.state.owner, view.order) == ({"a": 1}, "7", (100, 3, 0))


def test_a_newer_message_replaces_what_is_known() -> None:
    view = view_of(stored(3, a=1, b=1))
    assert view.apply_message(whole(4, a=2))
    assert view.state is not None
    assert (shown(view), view.state.owner) == ({"a": 2}, "7")


@pytest.mark.parametrize(
    ("version", "life", "is_read_again"), [(3, 100, False), (2, 100, True), (99, 99, True)]
)
def test_a_message_that_is_not_newer_is_dropped_and_an_older_one_has_the_job_read(
    version: int, life: int, is_read_again: bool
) -> None:
    view = view_of(None)
    view.apply_message(whole(3, a=1))
    assert not view.apply_message(whole(version, life, a=0))
    assert (shown(view), view.needs_read) == ({"a": 1}, is_read_again)


def test_messages_that_a_read_has_overtaken_are_no_reason_to_read_again() -> None:
    view = view_of(stored(3, a=3))
    assert not view.apply_message(whole(2, a=2))
    assert not view.apply_message(partial(on=2, b=2))
    assert not view.needs_read
    assert not view.apply_message(whole(3, a=3))  # From here on messages are as new as the read.
    assert not view.apply_message(whole(2, a=2))
    assert view.needs_read


def test_a_message_of_a_new_life_resets_and_has_its_own_owner() -> None:
    view = view_of(stored(9, a=1))
    assert view.apply_message(whole(1, life=101, owner="8", b=2))
    assert view.state is not None
    assert (shown(view), view.state.owner) == ({"b": 2}, "8")


@pytest.mark.parametrize(("life", "owner"), [(100, "7"), (101, None)])
def test_a_message_of_an_earlier_release_keeps_the_owner_within_a_life(
    life: int, owner: str | None
) -> None:
    view = view_of(stored(3, a=1))
    assert view.apply_message(json.dumps({"a": 2, "_l": life, "_v": 4}))
    assert view.state is not None
    assert view.state.owner == owner


def test_an_answer_that_a_message_overtook_is_dropped() -> None:
    view = view_of(stored(3, a=3))
    since = view.begin_read()
    assert view.apply_message(whole(5, a=5))
    assert not view.apply_read(stored(4, a=4), since)
    assert shown(view) == {"a": 5}


def test_an_answer_older_than_its_question_means_that_redis_has_gone_back() -> None:
    view = view_of(stored(5, a=5))
    assert read(view, stored(2, a=2))
    assert shown(view) == {"a": 2}


def test_a_hash_of_another_program_replaces_a_message_and_is_read_again() -> None:
    view = JobStateReducer("j1")
    since = view.begin_read()
    assert view.apply_message(whole(5, status="done"))
    assert view.apply_read(stored(0, life=0, file="a.csv"), since)
    assert (shown(view), view.needs_read) == ({"file": "a.csv"}, True)
    assert read(view, stored(5, status="done"))  # The message was the newer one.
    assert (shown(view), view.needs_read) == ({"status": "done"}, False)


def test_the_same_read_again_is_no_change() -> None:
    view = view_of(stored(3, a=1))
    assert not read(view, stored(3, a=1), heartbeat=True)


@pytest.mark.parametrize("first", [stored(0, life=0, a=1), stored(3, a=1)], ids=["foreign", "ours"])
def test_fields_that_another_program_wrote_are_shown_though_the_version_is_the_same(
    first: Stored,
) -> None:
    view = view_of(first)
    assert not read(view, first, heartbeat=True)
    assert read(view, stored(first.version, first.life, a=2), heartbeat=True)
    assert shown(view) == {"a": 2}


def test_a_deletion_of_this_life_is_shown_and_of_another_has_the_job_read() -> None:
    view = view_of(stored(3, a=1))
    assert not view.apply_message(b'{"_gone":99}')
    assert (shown(view), view.needs_read) == ({"a": 1}, True)
    assert view.apply_message(b'{"_gone":100}')
    assert shown(view) == "gone"
    assert view.state is not None
    assert view.state.ended


def test_a_deletion_of_what_was_never_seen_has_the_job_read() -> None:
    view = JobStateReducer("j1")
    assert not view.apply_message(b'{"_gone":0}')
    assert (view.state, view.needs_read) == (None, True)


def test_once_gone_is_gone_whatever_comes_later() -> None:
    view = view_of(stored(3, a=1))
    view.apply_message(b'{"_gone":100}')
    assert not read(view, stored(1, life=101, a=2))
    assert not view.apply_message(whole(1, life=101, a=2))
    assert shown(view) == "gone"


def test_absent_on_two_heartbeats_in_a_row_is_gone_and_on_one_is_not() -> None:
    view = view_of(stored(3, a=1))
    assert not read(view, None, heartbeat=True)
    assert shown(view) == {"a": 1}
    assert read(view, None, heartbeat=True)
    assert shown(view) == "gone"


@pytest.mark.parametrize("between", ["a read", "a message", "a partial message", "a late message"])
def test_a_sign_of_life_between_two_absences_makes_the_first_one_forgotten(between: str) -> None:
    view = view_of(stored(3, a=1))
    read(view, None, heartbeat=True)
    if between == "a read":
        read(view, stored(3, a=1), heartbeat=True)
    else:
        messages = {
            "a message": whole(4, a=1),
            "a partial message": partial(on=3, a=1),
            "a late message": partial(on=2, a=0),
        }
        view.apply_message(messages[between])
    assert not read(view, None, heartbeat=True)
    assert shown(view) == {"a": 1}


def test_an_absence_counts_only_at_heartbeats_and_only_once_the_job_was_there() -> None:
    view = view_of(stored(3, a=1))
    for _ in range(5):
        assert not read(view, None)
    waiting = JobStateReducer("j1")
    for _ in range(5):
        assert not read(waiting, None, heartbeat=True)
    assert (shown(view), waiting.state) == ({"a": 1}, None)


# What is remembered of a job that has ended or was deleted.


def test_an_outcome_is_shown_as_the_end_that_it_is() -> None:
    view = view_of(outcome(3, status="done"))
    assert view.state is not None
    assert (shown(view), view.state.ended) == ({"status": "done", "expired": True}, True)


def test_an_end_that_was_missed_is_shown_though_the_snapshot_has_expired() -> None:
    view = view_of(stored(3, status="importing"))
    assert read(view, outcome(9, status="failed"), heartbeat=True)
    assert shown(view)["status"] == "failed"


def test_of_an_end_that_is_known_nothing_is_forgotten() -> None:
    view = view_of(stored(3, status="done", created=5))
    assert not read(view, outcome(3, status="done"), heartbeat=True)
    assert shown(view) == {"status": "done", "created": 5}


def test_the_outcome_of_an_earlier_life_is_no_end_of_this_one() -> None:
    view = view_of(stored(1, life=200, status="importing"))
    assert not read(view, outcome(9, status="done"), heartbeat=True)
    assert read(view, outcome(9, status="done"), heartbeat=True)
    assert shown(view) == "gone"


def test_a_deletion_that_was_missed_is_shown_at_once() -> None:
    view = view_of(stored(3, status="importing"))
    assert read(view, deletion())
    assert shown(view) == "gone"
    assert shown(view_of(deletion())) == "gone"


def test_a_deletion_of_an_earlier_life_is_none_of_this_one() -> None:
    view = view_of(stored(1, life=200, status="importing"))
    assert not read(view, deletion())
    assert shown(view) == {"status": "importing"}


# Junk.


@pytest.mark.parametrize(
    "junk",
    [
        b"", b"junk", b"[1]", b'"text"', b"null", b'{"a":NaN}', b'{"a":1', b"\xff\xfe", b"\x00",
        b'{"a":1e999}', b"[" * 100_000, b"1" * 5000, b'{"_x":1}', b'{"a":1,"_v":0}', b'{"_v":true}',
        b'{"_v":"1"}', b'{"a":"' + b"x" * MAX_MESSAGE_BYTES + b'"}', "text", '{"_x":1}',
        '{"_m":7}', '{"_m":[1]}', '{"_m":[1,true]}', '{"_m":["1",2]}',
    ],
    ids=range(23),
)  # fmt: skip
def test_junk_changes_nothing_and_has_the_job_read(junk: bytes | str) -> None:
    view = view_of(stored(3, a=1))
    with pytest.raises(JunkMessage):
        view.apply_message(junk)
    assert (shown(view), view.needs_read) == ({"a": 1}, True)


def test_a_message_may_come_as_text() -> None:
    view = view_of(stored(3, a=1))
    assert view.apply_message(whole(4, a="é").decode())
    assert shown(view) == {"a": "é"}


def test_what_foreign_messages_pile_up_is_bounded() -> None:
    view = view_of(stored(3, a=1))
    for number in range(300):
        with suppress(JunkMessage):
            view.apply_message(json.dumps({f"f{number}": "x" * 10_000}))
    size = len(json.dumps(shown(view)))
    assert size <= 2 * MAX_MESSAGE_BYTES


# The worker.


def test_whether_a_worker_is_late_is_decided_by_the_publishers_clock() -> None:
    view = view_of(None)
    assert view.apply_message(json.dumps({"_l": 100, "_v": 1, "_d": 50, "_r": 40}))
    assert view.state is not None
    assert not view.state.stalled
    assert view.apply_message(json.dumps({"_l": 100, "_v": 2, "_d": 50, "_r": 60}))
    assert view.state.stalled


def test_a_job_that_was_published_to_have_ended_is_neither_stalled_nor_cancelling() -> None:
    view = view_of(None)
    assert view.apply_message(json.dumps({"_l": 100, "_v": 1, "_d": 50, "_r": 60, "_c": 1}))
    assert view.state is not None
    assert (view.state.stalled, view.state.cancelling) == (True, True)
    assert not view.apply_message(partial(on=1, status="failed"))
    assert read(view, stored(1, status="importing"))
    assert (view.state.stalled, view.state.cancelling) == (False, False)


def test_a_request_to_cancel_is_shown_without_a_new_version() -> None:
    view = view_of(stored(3, a=1))
    assert view.apply_message(json.dumps({"a": 1, "_l": 100, "_v": 3, "_c": 1, "_db": 0}))
    assert view.state is not None
    assert view.state.cancelling
    assert not view.apply_read(stored(3, a=1), view.begin_read()._replace(order=(100, 3, 0)))
    assert view.state.cancelling
