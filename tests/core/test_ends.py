"""What a client that comes back says of the end that it has seen."""

from __future__ import annotations

import pytest

from django_import_progress.core.ends import (
    absence,
    end_in,
    end_of,
    end_of_all,
    ended_with,
    names_an_end,
    names_the_end_of_all,
)
from tests.kit.jobviews import deletion, outcome, partial, read, stored, view_of

DONE = stored(3, status="done")


def test_an_id_that_ended_a_stream_counts_until_the_job_has_news() -> None:
    assert ended_with("100-3-0-end", DONE)
    assert ended_with("100-3-0-end", None)
    assert not ended_with("100-3-0-end", stored(4, status="done"))
    assert not ended_with("100-3-0-end", stored(3, life=101, status="done"))


def test_an_end_that_was_only_told_counts_while_nothing_newer_is_stored() -> None:
    assert ended_with("100-3-1-end", stored(3, status="importing"))
    assert not ended_with("100-3-1-end", stored(4, status="importing"))


def test_after_redis_went_back_the_same_version_need_not_be_the_end() -> None:
    assert not ended_with("100-3-0-end", stored(3, status="importing"))


def test_gone_counts_while_the_job_is_absent() -> None:
    assert ended_with("100-3-0-gone", None)
    assert ended_with("100-3-0-gone", deletion())
    assert not ended_with("100-3-0-gone", stored(3))


def test_an_end_that_is_remembered_still_counts() -> None:
    assert ended_with("100-3-0-end", outcome(3, status="done"))
    assert ended_with("100-3-0-end", deletion())
    assert not ended_with("100-2-0-end", outcome(3, status="done"))


@pytest.mark.parametrize(
    "event_id", ["", "100-3-0", "x", "100-3-0-end ", "1-2-end", "٣-3-0-end", "9" * 30 + "-3-0-end"]
)
def test_any_other_id_ends_nothing(event_id: str) -> None:
    assert not names_an_end(event_id)
    assert not ended_with(event_id, None)
    assert not names_the_end_of_all(event_id)


def test_who_polls_a_job_that_has_gone_is_told_so_the_second_time() -> None:
    assert absence("j1", "") == absence("j1", "junk") == b":\n\n"
    assert absence("j1", "100-3-0") == b"id: 100-3-0-absent\n\n"
    assert absence("j1", "100-3-0-absent").startswith(b"event: gone\nid: 100-3-0-gone\n")
    assert ended_with("100-3-0-gone", None)


def test_the_end_of_several_jobs_is_that_of_each_whatever_their_order() -> None:
    ended = end_of_all({"j1": "100-3-stored", "j2": "gone"})
    assert names_the_end_of_all(ended)
    assert not names_an_end(ended)
    assert ended == end_of_all({"j2": "gone", "j1": "100-3-stored"})
    others = [{"j1": "100-4-stored", "j2": "gone"}, {"j1": "100-3-stored"}, {"j2": "100-3-stored"}]
    assert ended not in map(end_of_all, others)


def test_a_job_has_ended_as_its_watcher_saw_it_while_nothing_newer_is_stored() -> None:
    done, told = view_of(DONE), view_of(stored(3, status="importing"))
    told.apply_message(partial(status="done"))
    read(told, stored(3, status="importing"))
    assert done.state is not None
    assert told.state is not None
    assert end_of(done.state) == end_in(DONE)
    assert end_of(told.state) == end_in(stored(3, status="importing"))
    assert end_of(done.state) != end_in(stored(4, status="done"))
    assert end_of(done.state) != end_in(stored(3, status="importing"))


def test_a_job_that_is_gone_has_ended_while_it_is_absent() -> None:
    view = view_of(DONE)
    view.apply_message(b'{"_gone":100}')
    assert view.state is not None
    assert end_of(view.state) == end_in(None) == end_in(deletion())
