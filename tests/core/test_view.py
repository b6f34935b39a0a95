"""What a watched job looks like, out of reads and messages in any order."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from django_import_progress.core.view import MAX_MESSAGE_BYTES, JobView, JunkMessage
from tests.kit.jobviews import partial, shown, stored, view_of, whole


def test_nothing_is_shown_until_something_is_known() -> None:
    view = view_of(None)
    assert (view.state, view.mark) == (None, (0, 0))


def test_the_first_read_is_shown_with_its_owner() -> None:
    view = view_of(stored(3, a=1))
    assert view.state is not None
    assert (shown(view), view.state.owner, view.mark) == ({"a": 1}, "7", (100, 3))


def test_a_newer_message_replaces_what_is_known_and_keeps_the_owner() -> None:
    view = view_of(stored(3, a=1, b=1))
    assert view.message(whole(4, a=2))
    assert view.state is not None
    assert (shown(view), view.state.owner) == ({"a": 2}, "7")


@pytest.mark.parametrize(("version", "life"), [(3, 100), (2, 100), (99, 99)])
def test_a_message_that_is_not_newer_is_dropped(version: int, life: int) -> None:
    view = view_of(stored(3, a=1))
    assert not view.message(whole(version, life, a=0))
    assert shown(view) == {"a": 1}


def test_a_new_life_resets_and_does_not_inherit_the_owner() -> None:
    view = view_of(stored(9, a=1))
    assert view.message(whole(1, life=101, b=2))
    assert view.state is not None
    assert (shown(view), view.state.owner) == ({"b": 2}, None)
    assert not view.read(stored(1, life=101, owner="8", b=2), mark=view.mark, heartbeat=True)
    assert view.message(whole(2, life=101, b=3))
    assert view.state.owner == "8"


def test_an_answer_that_a_message_overtook_is_dropped() -> None:
    view = view_of(stored(3, a=3))
    mark = view.mark
    assert view.message(whole(5, a=5))
    assert not view.read(stored(4, a=4), mark=mark, heartbeat=True)
    assert shown(view) == {"a": 5}


def test_an_answer_older_than_its_question_means_that_redis_has_gone_back() -> None:
    view = view_of(stored(5, a=5))
    assert view.read(stored(2, a=2), mark=view.mark, heartbeat=True)
    assert shown(view) == {"a": 2}


def test_the_same_read_again_is_no_change() -> None:
    view = view_of(stored(3, a=1))
    assert not view.read(stored(3, a=1), mark=view.mark, heartbeat=True)


def test_a_hash_of_somebody_elses_is_compared_by_its_fields() -> None:
    view = view_of(stored(0, life=0, a=1))
    assert not view.read(stored(0, life=0, a=1), mark=view.mark, heartbeat=True)
    assert view.read(stored(0, life=0, a=2), mark=view.mark, heartbeat=True)
    assert shown(view) == {"a": 2}


def test_a_partial_message_is_merged_over_the_last_snapshot() -> None:
    view = view_of(stored(3, a=1, b=1))
    assert view.message(partial(b=2))
    assert view.message(partial(c=3))
    assert shown(view) == {"a": 1, "b": 2, "c": 3}
    assert view.unsure


def test_a_partial_message_is_shown_before_anything_is_stored() -> None:
    view = JobView("j1")
    assert view.message(partial(status="parsing"))
    assert shown(view) == {"status": "parsing"}
    assert view.state is not None
    assert view.state.owner is None


def test_a_read_after_a_partial_message_keeps_it_while_nothing_newer_is_stored() -> None:
    view = view_of(stored(3, a=1))
    view.message(partial(b=2))
    assert not view.read(stored(3, a=1), mark=view.mark, heartbeat=True)
    assert not view.unsure
    assert shown(view) == {"a": 1, "b": 2}


def test_something_newer_that_is_told_ends_the_partial_message() -> None:
    view = view_of(stored(3, a=1))
    view.message(partial(b=2))
    view.message(whole(4, a=4))
    assert shown(view) == {"a": 4}


@pytest.mark.parametrize(
    ("told", "written", "kept"),
    [
        ("2025-01-01T00:00:02+00:00", "2025-01-01T00:00:01+00:00", True),
        ("2025-01-01T00:00:01+00:00", "2025-01-01T00:00:01+00:00", True),
        ("2025-01-01T00:00:01+00:00", "2025-01-01T00:00:02+00:00", False),
        ("2025-01-01T02:00:00+02:00", "2025-01-01T00:00:01+00:00", False),
        ("2025-01-01T00:00:02", "2025-01-01T00:00:01+00:00", False),
        ("yesterday", "2025-01-01T00:00:01+00:00", False),
        (17, "2025-01-01T00:00:01+00:00", False),
    ],
)
def test_something_newer_that_is_read_ends_it_unless_the_clocks_say_that_it_came_after(
    told: Any, written: str, kept: bool
) -> None:
    view = view_of(stored(3, a=1))
    view.message(partial(b=2, updated_at=told))
    assert view.read(stored(4, a=4, updated_at=written), mark=view.mark, heartbeat=False)
    assert ("b" in shown(view)) is kept


def test_a_stored_end_is_never_hidden_by_a_message_that_is_none() -> None:
    view = view_of(stored(3, status="importing"))
    view.message(partial(status="importing", updated_at="2026-01-01T00:00:00+00:00"))
    end = stored(4, status="done", updated_at="2025-01-01T00:00:00+00:00")
    assert view.read(end, mark=view.mark, heartbeat=False)
    assert shown(view)["status"] == "done"


def test_a_partial_message_that_a_read_has_overtaken_is_not_laid_over_what_was_read() -> None:
    view = view_of(stored(4, a=4, updated_at="2025-01-01T00:00:02+00:00"))
    assert not view.message(partial(a=3, updated_at="2025-01-01T00:00:01+00:00"))
    assert shown(view)["a"] == 4


def test_an_end_arrives_though_its_publishers_clock_is_behind() -> None:
    view = view_of(stored(4, a=4, updated_at="2025-01-01T00:00:02+00:00"))
    assert view.message(partial(status="done", updated_at="2025-01-01T00:00:01+00:00"))
    assert shown(view)["status"] == "done"


def test_a_message_of_another_life_with_a_lower_mark_has_the_job_read() -> None:
    view = view_of(stored(4, life=100, a=4))
    assert not view.message(whole(1, life=99, a=1))
    assert view.unsure
    assert view.read(stored(1, life=99, a=1), mark=view.mark, heartbeat=False)
    assert shown(view) == {"a": 1}


def test_of_several_partial_messages_only_those_stay_that_came_after_what_is_stored() -> None:
    view = view_of(stored(3, a=1, stage="first", updated_at="2025-01-01T00:00:00+00:00"))
    view.message(partial(stage="old", updated_at="2025-01-01T00:00:01+00:00"))
    view.message(partial(b=5, updated_at="2025-01-01T00:00:03+00:00"))
    now = stored(4, a=2, stage="new", updated_at="2025-01-01T00:00:02+00:00")
    assert view.read(now, mark=view.mark, heartbeat=False)
    shown_now = shown(view)
    assert (shown_now["a"], shown_now["stage"], shown_now["b"]) == (2, "new", 5)


@pytest.mark.parametrize("told", [False, True])
def test_an_end_is_not_taken_back_by_a_message_that_came_after_it(told: bool) -> None:
    view = view_of(stored(3, status="importing" if told else "done", n=1))
    if told:
        view.message(partial(status="done"))
    assert not view.message(partial(status="importing", n=2))
    assert shown(view) == {"status": "done", "n": 1}
    assert view.message(partial(n=3))
    assert shown(view) == {"status": "done", "n": 3}


def test_fields_that_somebody_else_wrote_are_shown_though_the_version_is_the_same() -> None:
    view = view_of(stored(3, a=1))
    assert view.read(stored(3, a=2), mark=view.mark, heartbeat=True)
    assert shown(view) == {"a": 2}
    assert not view.read(stored(3, a=2), mark=view.mark, heartbeat=True)


def test_an_end_that_is_told_ends_the_watching() -> None:
    view = view_of(stored(3, status="importing"))
    view.message(partial(status="failed"))
    assert view.state is not None
    assert view.state.ended
    assert not view.state.gone


def test_a_deletion_of_this_life_is_told_and_of_another_is_not() -> None:
    view = view_of(stored(3, a=1))
    assert not view.message(b'{"_gone":99}')
    assert shown(view) == {"a": 1}
    assert view.message(b'{"_gone":100}')
    assert shown(view) == "gone"
    assert view.state is not None
    assert view.state.ended


def test_a_deletion_of_what_was_never_seen_is_nothing() -> None:
    view = JobView("j1")
    assert not view.message(b'{"_gone":0}')
    assert view.state is None


def test_once_gone_is_gone_whatever_comes_later() -> None:
    view = view_of(stored(3, a=1))
    view.message(b'{"_gone":100}')
    assert not view.read(stored(1, life=101, a=2), mark=(100, 3), heartbeat=False)
    assert not view.message(b'{"_l":101,"_v":1,"a":2}')
    assert shown(view) == "gone"


def test_absent_on_two_heartbeats_in_a_row_is_gone_and_on_one_is_not() -> None:
    view = view_of(stored(3, a=1))
    assert not view.read(None, mark=view.mark, heartbeat=True)
    assert shown(view) == {"a": 1}
    assert view.read(None, mark=view.mark, heartbeat=True)
    assert shown(view) == "gone"


@pytest.mark.parametrize("between", ["a read", "a message"])
def test_what_comes_between_two_absences_makes_the_first_one_forgotten(between: str) -> None:
    view = view_of(stored(3, a=1))
    view.read(None, mark=view.mark, heartbeat=True)
    if between == "a read":
        view.read(stored(3, a=1), mark=view.mark, heartbeat=True)
    else:
        view.message(whole(4, a=1))
    assert not view.read(None, mark=view.mark, heartbeat=True)
    assert shown(view) == {"a": 1}


def test_an_absence_counts_only_at_heartbeats_and_only_once_the_job_was_there() -> None:
    view = view_of(stored(3, a=1))
    for _ in range(5):
        assert not view.read(None, mark=view.mark, heartbeat=False)
    waiting = JobView("j1")
    for _ in range(5):
        assert not waiting.read(None, mark=waiting.mark, heartbeat=True)
    assert (shown(view), waiting.state) == ({"a": 1}, None)


@pytest.mark.parametrize(
    "junk",
    [
        b"", b"junk", b"[1]", b'"text"', b"null", b'{"a":NaN}', b'{"a":1', b"\xff\xfe", b"\x00",
        b'{"a":1e999}', b"[" * 100_000, b"1" * 5000, b'{"_x":1}', b'{"a":1,"_v":0}', b'{"_v":true}',
        b'{"_v":"1"}', b'{"a":"' + b"x" * MAX_MESSAGE_BYTES + b'"}', "text", '{"_x":1}',
    ],
    ids=range(19),
)  # fmt: skip
def test_junk_is_refused_and_changes_nothing(junk: bytes | str) -> None:
    view = view_of(stored(3, a=1))
    with pytest.raises(JunkMessage):
        view.message(junk)
    assert (shown(view), view.unsure) == ({"a": 1}, False)


def test_a_message_may_come_as_text() -> None:
    view = view_of(stored(3, a=1))
    assert view.message(whole(4, a="é").decode())
    assert shown(view) == {"a": "é"}


def test_what_foreign_messages_pile_up_is_bounded() -> None:
    view = view_of(stored(3, a=1))
    for number in range(300):
        with suppress(JunkMessage):
            view.message(json.dumps({f"f{number}": "x" * 10_000}))
    size = len(json.dumps(shown(view)))
    assert size <= 2 * MAX_MESSAGE_BYTES


def test_nothing_piles_up_of_fields_that_were_stored_since_they_were_told() -> None:
    view = view_of(stored(1))
    for version in range(2, 50):
        assert view.message(partial(**{f"f{version}": 1}))
        assert view.message(whole(version))
    assert len(view._told) == 1


def test_whether_a_worker_is_late_is_told_by_the_clock_of_whoever_tells() -> None:
    view = view_of(None)
    assert view.message(json.dumps({"_l": 100, "_v": 1, "_d": 50, "_r": 40}))
    assert view.state is not None
    assert not view.state.stalled
    assert view.message(json.dumps({"_l": 100, "_v": 2, "_d": 50, "_r": 60}))
    assert view.state.stalled


def test_a_job_that_was_told_to_have_ended_is_not_stalled_and_does_not_stop_any_more() -> None:
    view = view_of(None)
    assert view.message(json.dumps({"_l": 100, "_v": 1, "_d": 50, "_r": 60, "_c": 1}))
    assert view.state is not None
    assert (view.state.stalled, view.state.cancelling) == (True, True)
    assert view.message(partial(status="failed"))
    assert (view.state.stalled, view.state.cancelling) == (False, False)
