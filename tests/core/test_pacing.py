"""Back-off, rate and the time that is left, with time and chance as arguments."""

from __future__ import annotations

import pytest

from django_import_progress.core.pacing import Rate, backoff_seconds, eta_seconds


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


def test_no_rate_before_two_seconds_are_over() -> None:
    rate = Rate(100.0, 0)
    assert rate.sample(100.0, 0) is None
    assert rate.sample(101.9, 190) is None
    assert rate.sample(102.0, 200) == pytest.approx(100)


def test_a_steady_import_has_a_steady_rate() -> None:
    rate = Rate(0.0, 50)
    rates = [rate.sample(second / 2, 50 + second * 500) for second in range(1, 200)]
    assert all(value == pytest.approx(1000) for value in rates[3:])


def test_the_rate_follows_a_change_within_its_memory() -> None:
    rate = Rate(0.0, 0)
    for second in range(1, 31):
        rate.sample(second, second * 100)
    for second in range(31, 81):
        after = rate.sample(second, 3000)
    assert after is not None
    assert 0 < after < 1


def test_two_samples_of_one_moment_and_rows_that_go_back_break_nothing() -> None:
    rate = Rate(0.0, 1000)
    rate.sample(3.0, 1000)
    assert rate.sample(3.0, 1000) == 0
    assert rate.sample(4.0, 0) == 0


@pytest.mark.parametrize(
    ("rate", "total", "processed", "seconds"),
    [
        (10.0, 100, 0, 10), (10.0, 101, 0, 11), (10.0, 100, 100, 0), (10.0, 100, 200, 0),
        (None, 100, 0, None), (0.0, 100, 0, None), (10.0, None, 0, None),
    ],
)  # fmt: skip
def test_the_time_that_is_left(
    rate: float | None, total: int | None, processed: int, seconds: int | None
) -> None:
    assert eta_seconds(rate, total, processed) == seconds
