"""Back-off, rate and the time that is left, with time and chance as arguments."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from django_import_progress.core.pacing import Eta, Patience, Rate, backoff_seconds


@pytest.mark.parametrize(
    ("failures", "chance", "seconds"),
    [
        (1, 1, 0.1), (1, 0, 0.05), (2, 1, 0.2), (3, 1, 0.4), (5, 0.5, 1.2), (6, 1, 2.0),
        (1000, 1, 2.0), (1000, 0, 1.0),
    ],
)  # fmt: skip
def test_back_off_doubles_up_to_a_bound_and_is_spread_over_its_upper_half(
    failures: int, chance: float, seconds: float
) -> None:
    assert backoff_seconds(failures, chance) == pytest.approx(seconds)


def test_first_and_most_are_arguments() -> None:
    assert backoff_seconds(1, 1, first=1, most=60) == 1
    assert backoff_seconds(9, 1, first=1, most=60) == 60


def sampled(rate: Rate, counts: Iterable[tuple[float, int]]) -> float | None:
    """Return what the last of several samples gives."""
    return [rate.sample(now, rows) for now, rows in counts][-1]


def steady(
    since: float, seconds: float, rows: int = 0, *, per_second: int
) -> list[tuple[float, int]]:
    """Return what is sampled twice a second of rows that come steadily."""
    steps = range(int(seconds * 2) + 1)
    return [(since + step / 2, rows + step * per_second // 2) for step in steps]


def test_no_rate_before_rows_have_come_for_two_seconds() -> None:
    rate = Rate()
    assert sampled(rate, [(100.0, 0), (160.0, 0), (160.5, 50), (162.0, 200)]) is None
    assert rate.sample(162.5, 250) == pytest.approx(100)


def test_a_steady_import_has_a_steady_rate_whatever_came_before_its_first_rows() -> None:
    rate = Rate()
    rate.sample(0.0, 0)
    rates = [rate.sample(now, rows) for now, rows in steady(60.0, 100, 1, per_second=1000)]
    assert all(value == pytest.approx(1000) for value in rates[4:])


def test_slow_rows_have_a_rate_from_the_third_on() -> None:
    rate = Rate()
    rates = [rate.sample(second, second // 30) for second in range(200)]
    assert not any(rates[:60])
    assert all(value == pytest.approx(1 / 30) for value in rates[60:])


def test_the_rate_follows_a_change_within_its_memory() -> None:
    rate = Rate()
    sampled(rate, steady(0.0, 30, per_second=100))
    assert sampled(rate, steady(30.5, 50, 3001, per_second=2)) == pytest.approx(2, abs=1)


def test_in_a_pause_nothing_moves_and_it_is_not_counted_afterwards() -> None:
    rate = Rate()
    sampled(rate, steady(0.0, 30, per_second=100))
    assert rate.sample(34.9, 3000) == pytest.approx(100)
    assert rate.sample(35.1, 3000) == 0
    assert rate.sample(630.0, 3050) == pytest.approx(100)


def test_pauses_that_become_usual_are_counted() -> None:
    rate = Rate()
    sampled(rate, steady(0.0, 30, per_second=100))
    rates = [rate.sample(30.0 + 60 * n, 3000 + 600 * n) for n in range(1, 5)]
    assert rates[0] == pytest.approx(100)
    assert rates[-1] == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("stands_at", [5000, 0])
def test_rows_that_are_set_and_not_done_have_no_rate(stands_at: int) -> None:
    rate = Rate()
    sampled(rate, steady(0.0, 30, per_second=100))
    rate.rebase()
    after = steady(30.5, 5, stands_at, per_second=100)
    assert all(rate.sample(now, rows) == pytest.approx(100) for now, rows in after)


def test_two_samples_of_one_moment_and_rows_that_go_back_break_nothing() -> None:
    rate = Rate()
    sampled(rate, steady(0.0, 30, per_second=100))
    counts = [(30.0, 3001), (30.5, 10), (31.0, 60), (31.5, 110)]
    assert sampled(rate, counts) == pytest.approx(100)


@pytest.mark.parametrize(
    ("rate", "total", "processed", "seconds"),
    [
        (10.0, 100, 0, 10), (10.0, 101, 0, 11), (10.0, 100, 100, 0), (10.0, 100, 101, None),
        (None, 100, 0, None), (0.0, 100, 0, None), (10.0, None, 0, None),
    ],
)  # fmt: skip
def test_the_time_that_is_left(
    rate: float | None, total: int | None, processed: int, seconds: int | None
) -> None:
    assert Eta().sample(7.0, rate, total, processed) == seconds


@pytest.mark.parametrize(
    ("stood_seconds", "hidden_seconds"), [(0.5, 2.0), (10.0, 20.0), (3600.0, 60.0)]
)
def test_a_total_that_has_grown_is_not_relied_on_until_it_has_stood(
    stood_seconds: float, hidden_seconds: float
) -> None:
    eta, changed = Eta(), 100.0 + stood_seconds
    assert eta.sample(90.0, 10.0, None, 0) is None
    assert eta.sample(100.0, 10.0, 50, 0) == 5
    assert eta.sample(changed, 10.0, 500, 50) is None
    assert eta.sample(changed + hidden_seconds - 0.1, 10.0, 500, 50) is None
    assert eta.sample(changed + hidden_seconds, 10.0, 500, 50) == 45


def test_a_moment_is_over_after_so_many_turns() -> None:
    patience = Patience(0.0, 30, most_seconds=2.0)
    turns = [patience.is_over(number * 0.001) for number in range(1, 31)]
    assert turns == [False] * 29 + [True]


def test_turns_that_come_late_do_not_count() -> None:
    patience = Patience(0.0, 30, most_seconds=2.0)
    assert not any(patience.is_over(number * 0.01) for number in range(1, 200))
    assert patience.is_over(2.0)
