"""What the Last-Event-ID of a client that reconnects or polls says."""

from __future__ import annotations

import pytest

from django_import_progress.core.snapshot import Stored
from django_import_progress.core.sse import (
    GONE,
    MISSED,
    NEVER_SEEN,
    SEEN,
    end_id,
    end_id_now,
    has_nothing_new,
    is_end_id,
    poll_id,
    poll_state,
)
from tests.kit.jobviews import deletion, outcome, partial, read, stored, view_of

DONE = stored(3, status="done")


def ended_with(first: Stored) -> str:
    """Return the id with which a watcher's stream ended."""
    view = view_of(first)
    view.apply_message(partial(on=first.version, status="done"))
    read(view, first)
    assert view.state is not None
    return end_id({"j1": view.state.end})


def is_over(event_id: str, now: Stored | None) -> bool:
    return has_nothing_new(event_id, {"j1": now})


def test_an_id_that_ended_a_stream_counts_until_the_job_has_news() -> None:
    last = ended_with(DONE)
    assert is_over(last, DONE)
    assert is_over(last, None)
    assert not is_over(last, stored(4, status="done"))
    assert not is_over(last, stored(3, life=101, status="done"))


def test_an_end_that_is_remembered_counts_and_so_does_one_that_was_deleted() -> None:
    assert is_over(ended_with(DONE), outcome(3, status="done"))
    assert not is_over(ended_with(DONE), outcome(2, status="done"))
    gone = view_of(DONE)
    gone.apply_message(b'{"_gone":100}')
    assert gone.state is not None
    last = end_id({"j1": gone.state.end})
    assert is_over(last, None)
    assert is_over(last, deletion())
    assert not is_over(last, DONE)


def test_an_end_that_was_only_published_counts_while_nothing_newer_is_stored() -> None:
    last = ended_with(stored(3, status="importing"))
    assert is_over(last, stored(3, status="importing"))
    assert not is_over(last, stored(4, status="importing"))


def test_after_redis_went_back_the_same_version_need_not_be_the_end() -> None:
    assert not is_over(ended_with(DONE), stored(3, status="importing"))


@pytest.mark.parametrize("event_id", ["", "100-3-0", "x", "end-", f"end-{'0' * 31}", "end-\u0663"])
def test_any_other_id_ends_nothing(event_id: str) -> None:
    assert not is_end_id(event_id)
    assert not is_over(event_id, None)


def test_the_end_of_several_jobs_is_that_of_each_whatever_their_order() -> None:
    ended = end_id({"j1": "100-3-stored", "j2": "gone"})
    assert is_end_id(ended)
    assert ended == end_id({"j2": "gone", "j1": "100-3-stored"}) == end_id_now({"j1": DONE}, ["j2"])
    others = [{"j1": "100-4-stored", "j2": "gone"}, {"j1": "100-3-stored"}, {"j2": "100-3-stored"}]
    assert ended not in map(end_id, others)


def test_a_client_that_polls_is_told_that_a_job_has_gone_the_second_time_it_is_missed() -> None:
    jobs: dict[str, Stored | None] = {"a": DONE, "b": None, "c": deletion()}
    known = poll_state("junk", jobs)
    assert known == {"a": SEEN, "b": NEVER_SEEN, "c": GONE}
    jobs["a"] = None
    known = poll_state(poll_id(known), jobs)
    assert known == {"a": MISSED, "b": NEVER_SEEN, "c": GONE}
    known = poll_state(poll_id(known), jobs)
    assert known["a"] == GONE
    jobs["a"] = DONE
    assert poll_state(poll_id(known), jobs)["a"] == SEEN


def test_what_a_client_knows_of_other_jobs_says_nothing() -> None:
    known = poll_id({"a": MISSED})
    assert poll_state(known, {"b": None}) == {"b": NEVER_SEEN}
