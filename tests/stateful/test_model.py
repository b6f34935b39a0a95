"""The model knows what may not be: else the state machine would find nothing."""

from __future__ import annotations

from typing import Any

import pytest

from .model import JobModel, Op, Partial


def _model(*, is_marked: bool = True) -> JobModel:
    """Return a job that was written twice, and of which something was told in between."""
    model = JobModel("j1", iter(range(100)).__next__)
    model.found(None)
    first = {"n": 1, "square": 1}
    model.answered(Op(verb="set_progress", number=1, data=first), {**first, "updated_at": "a"}, 0)
    partial = {"p": 2, "p_square": 4, "updated_at": "b"}
    model.publish(2, Partial(fields=partial, is_marked=is_marked, is_lost=False))
    second = {"n": 3, "square": 9}
    model.answered(Op(verb="update", number=3, data=second), {**second, "updated_at": "c"}, 0)
    model.found({**second, "updated_at": "c"})
    return model


@pytest.mark.parametrize(
    "shown",
    [
        {"n": 1, "square": 9},
        {"n": 1},
        {"n": 2, "square": 4},
        {"n": 1, "square": 1, "updated_at": "c"},
        {"n": 1, "square": 1, "p": 2, "p_square": 5},
        {"n": 1, "square": 1, "more": 1},
        {"p": 2, "p_square": 4},
    ],
    ids=str,
)
def test_a_mixture_is_no_snapshot(shown: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="never was"):
        _model().explain(shown, since=50.0)


def test_what_was_told_is_seen_over_what_was_stored_before() -> None:
    shown = {"n": 1, "square": 1, "p": 2, "p_square": 4, "updated_at": "b"}
    assert _model().explain(shown, since=50.0) == {"n": 1, "square": 1}


@pytest.mark.parametrize(
    ("shown", "is_current"),
    [
        ({"n": 3, "square": 9, "updated_at": "c"}, True),
        ({"n": 1, "square": 1, "updated_at": "a"}, False),
        ({"n": 3, "square": 9, "p": 2, "p_square": 4, "updated_at": "b"}, False),
    ],
    ids=["it is", "older", "covered by what was told before"],
)
def test_what_is_current(shown: dict[str, Any], is_current: bool) -> None:
    assert _model().is_current(shown) is is_current


@pytest.mark.parametrize("is_marked", [False, True])
def test_only_a_message_without_a_mark_that_comes_late_may_cover_what_is_newer(
    is_marked: bool,
) -> None:
    model = _model(is_marked=is_marked)
    model.was_delayed = True
    shown = {"n": 3, "square": 9, "p": 2, "p_square": 4, "updated_at": "b"}
    assert model.is_current(shown) is not is_marked


def test_an_outcome_is_that_of_an_end_that_was_stored() -> None:
    model = _model()
    ended = {"n": 4, "status": "done", "processed_rows": 5, "total_rows": 10**30}
    model.settle([ended])
    outcome = {"status": "done", "processed_rows": 5, "total_rows": None, "expired": True}
    assert model.explain(outcome, since=0.0) == ended
    with pytest.raises(AssertionError, match="never ended"):
        model.explain({**outcome, "processed_rows": 6}, since=0.0)


def test_where_nothing_is_stored_only_what_was_told_is_current() -> None:
    model = JobModel("j1", iter(range(100)).__next__)
    fields = {"p": 1, "p_square": 1}
    model.publish(1, Partial(fields=fields, is_marked=True, is_lost=False))
    assert model.explain({"p": 1, "p_square": 1}, since=0.0) == {}
    assert model.is_current({"p": 1, "p_square": 1})


def test_a_write_whose_answer_was_lost_may_have_happened_or_not() -> None:
    model = _model()
    model.lose(Op(verb="update", number=4, data={"n": 4}), 0)
    assert model.possible == [{"n": 3, "square": 9}, {"n": 4, "square": 9}]
    with pytest.raises(AssertionError, match="possible was"):
        model.found(None)
