"""Interleaved measuring: each round runs every contender once, so that all see the same machine."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence

Seconds = dict[str, list[float]]
"""What each contender took, round by round."""


def measure(contenders: Mapping[str, Callable[[], float]], rounds: int) -> Seconds:
    """Run all contenders in turn, so many times; each returns what it took.

    One round before is not counted: it fills caches, and opens connections.
    """
    seconds: Seconds = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            took = run()
            if number:
                seconds[name].append(took)
    return seconds


async def measure_in_loop(
    contenders: Mapping[str, Callable[[], Awaitable[float]]], rounds: int
) -> Seconds:
    """Do the same with coroutines."""
    seconds: Seconds = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            took = await run()
            if number:
                seconds[name].append(took)
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the median of each contender."""
    return {name: statistics.median(took) for name, took in seconds.items()}


def minima(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the best of each contender: what others do on the machine can only make it slower."""
    return {name: min(took) for name, took in seconds.items()}
