"""The circuit breaker, by a clock of the test's."""

from __future__ import annotations

import pytest

from django_import_progress.redis.circuit_breaker import (
    INTEREST_SECONDS,
    OPEN_SECONDS,
    SLOW_SECONDS,
    TRIAL_SECONDS,
    Admission,
    Breaker,
)

CALL, TRIAL, REFUSED = Admission.CALL, Admission.TRIAL, Admission.REFUSED


def opened(now: float = 100.0) -> Breaker:
    breaker = Breaker()
    assert breaker.admit(now - 1) is CALL
    breaker.end(now, 1.0, failed=True)
    return breaker


def test_a_closed_breaker_lets_any_number_of_calls_through() -> None:
    breaker = Breaker()
    assert [breaker.admit(now) for now in (1, 1, 2, 500)] == [CALL] * 4
    assert not breaker.is_open
    assert not breaker.begin_trial(1)


@pytest.mark.parametrize(
    ("waited", "failed", "is_open"),
    [
        (SLOW_SECONDS, True, True),
        (60, True, True),
        (SLOW_SECONDS - 0.1, True, False),  # A refused connection.
        (60, False, False),  # Slow, but Redis has responded.
        (0, False, False),
    ],
)
def test_only_a_failure_that_took_long_opens_it(waited: float, failed: bool, is_open: bool) -> None:
    breaker = Breaker()
    breaker.end(100, waited, failed=failed)
    assert breaker.is_open is is_open
    assert breaker.admit(100) is (REFUSED if is_open else CALL)


def test_an_open_one_refuses_for_a_while_and_then_lets_a_single_caller_try() -> None:
    breaker = opened(100)
    assert breaker.admit(100 + OPEN_SECONDS - 0.1) is REFUSED
    assert breaker.admit(100 + OPEN_SECONDS) is TRIAL
    assert [breaker.admit(100 + OPEN_SECONDS + wait) for wait in (0, 1, 9)] == [REFUSED] * 3


def test_a_trial_that_fails_keeps_it_open_from_then_on() -> None:
    breaker = opened(100)
    assert breaker.admit(110) is TRIAL
    breaker.end(111, 1.0, failed=True)
    breaker.end_trial()
    assert breaker.admit(111 + OPEN_SECONDS - 0.1) is REFUSED
    assert breaker.admit(111 + OPEN_SECONDS) is TRIAL


@pytest.mark.parametrize("failed", [False, True])
def test_a_trial_that_ends_soon_closes_it(failed: bool) -> None:
    """Whether Redis serves, or refuses: who asks next has an answer at once."""
    breaker = opened(100)
    assert breaker.admit(110) is TRIAL
    breaker.end(110.1, 0.1, failed=failed)
    breaker.end_trial()
    assert breaker.admit(110.1) is CALL


def test_a_call_that_began_before_and_succeeds_closes_it() -> None:
    breaker = opened(100)
    breaker.end(100.5, 4.0, failed=False)
    assert breaker.admit(100.5) is CALL


def test_a_trial_without_a_result_makes_room_for_another_one() -> None:
    breaker = opened(100)
    assert breaker.admit(110) is TRIAL
    breaker.end_trial()
    assert breaker.is_open
    assert breaker.admit(110) is TRIAL


def test_calls_that_fail_later_do_not_end_a_trial() -> None:
    breaker = opened(100)
    assert breaker.begin_trial(100)
    breaker.end(101, 1.0, failed=True)
    assert not breaker.begin_trial(101)


def test_there_is_one_probe_at_a_time_and_no_caller_tries_meanwhile() -> None:
    breaker = opened(100)
    assert breaker.begin_trial(100)
    assert not breaker.begin_trial(101)
    assert breaker.admit(100 + OPEN_SECONDS + 1) is REFUSED


def test_a_probe_that_fails_is_repeated_and_remains_the_only_one() -> None:
    breaker = opened(100)
    assert breaker.begin_trial(100)
    assert breaker.end_probe(101, 1.0, failed=True)
    assert not breaker.begin_trial(102)
    assert breaker.admit(101 + OPEN_SECONDS) is REFUSED


@pytest.mark.parametrize(("waited", "failed"), [(0.1, False), (0.1, True), (3.0, False)])
def test_a_probe_to_which_redis_responds_is_the_last(waited: float, failed: bool) -> None:
    breaker = opened(100)
    assert breaker.begin_trial(100)
    assert not breaker.end_probe(101, waited, failed=failed)
    assert breaker.admit(101) is CALL


def test_probing_ends_when_nobody_has_called_for_long() -> None:
    breaker = opened(100)
    assert breaker.admit(101) is REFUSED
    assert breaker.begin_trial(101)
    assert breaker.end_probe(101 + INTEREST_SECONDS - 1, 1.0, failed=True)
    assert not breaker.end_probe(101 + INTEREST_SECONDS, 1.0, failed=True)
    assert breaker.admit(101 + INTEREST_SECONDS) is REFUSED
    assert breaker.admit(101 + INTEREST_SECONDS + OPEN_SECONDS) is TRIAL


def test_a_trial_of_which_nothing_more_is_heard_is_given_up() -> None:
    breaker = opened(100)
    assert breaker.begin_trial(100)
    assert not breaker.begin_trial(100 + TRIAL_SECONDS - 1)
    assert breaker.admit(100 + TRIAL_SECONDS) is TRIAL
