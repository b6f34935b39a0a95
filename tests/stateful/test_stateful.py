"""Random schedules of writes, faults and watchers, against real processes."""

from __future__ import annotations

import os
import random
import sys
import time

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from .rules import Schedule

COMMON = settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # What is real does not fail the same way twice: nothing to shrink.
    print_blob=False,
)
SHORT = settings(COMMON, derandomize=True, max_examples=8, stateful_step_count=30)
LONG = settings(COMMON, max_examples=20, stateful_step_count=60)


def perform(schedule: type[Schedule], how: settings) -> None:
    """Run schedules until one fails, and raise what went wrong first."""
    try:
        run_state_machine_as_test(schedule, settings=how)
    except BaseException as error:  # pragma: no cover - of a failure
        first = schedule.world.failure or error
        raise first from first.__cause__


def test_some_schedules(schedule: type[Schedule]) -> None:
    perform(schedule, SHORT)
    assert schedule.world.process_metrics["snapshots shown"] > 0


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_many_schedules(
    schedule: type[Schedule], capsys: pytest.CaptureFixture[str]
) -> None:  # pragma: no cover - it takes minutes
    """Run for SOAK_SECONDS; SOAK_SEED, which is told, has the same schedules run again."""
    first = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(10**9))
    deadline = time.monotonic() + float(os.environ.get("SOAK_SECONDS") or 600)
    world, number = schedule.world, first
    while time.monotonic() < deadline:
        with capsys.disabled():
            sys.stdout.write(f"\nSOAK_SEED={number}: ")
        perform(seed(number)(schedule), LONG)
        number += 1
        with capsys.disabled():
            sys.stdout.write(f"all converged, within {world.slowest:.1f} s at most")
    with capsys.disabled():
        steps = sum(world.process_metrics.values()) - world.process_metrics["snapshots shown"]
        sys.stdout.write(f"\n{number - first} rounds from SOAK_SEED={first}, {steps} steps\n")
        for name, count in sorted(world.process_metrics.items()):
            sys.stdout.write(f"  {count:7} {name}\n")
