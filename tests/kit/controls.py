"""Negative controls: a test runs once more with the defence off, and must fail then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

Switch = Callable[[pytest.MonkeyPatch], None]
"""Turns one defence off."""

FAILURES = (AssertionError, TimeoutError, pytest.fail.Exception)


def without(
    *switches: Switch, fails_with: tuple[type[BaseException], ...] = FAILURES
) -> pytest.MarkDecorator:
    """Run a test as things are, and once with each defence off, when it has to fail.

    The test must have the fixture `defence` (in `tests/faults` each has). A test that passes
    without the defence proves nothing, and is reported as a failure.

    Args:
        switches: each turns a defence off; its name becomes part of the test's.
        fails_with: what the test fails with then. Anything else is a failure of the control.
    """
    is_red = pytest.mark.xfail(raises=fails_with, strict=True)
    controls = [pytest.param(switch, id=switch.__name__, marks=is_red) for switch in switches]
    return pytest.mark.parametrize(
        "defence", [pytest.param(None, id="survives"), *controls], indirect=True
    )


def repeated(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """Yield the controls that show what another one has shown.

    A test may run on several servers, with several outages, and so on; that it goes red without its
    defence needs to be seen with one of them. But a defence may be another one at each `wire` or
    `door`, and of each manager.
    """
    seen: set[tuple[Any, ...]] = set()
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if switch := params.get("defence"):
            where = [params.get(name) for name in ("wire", "door", "kind", "quick", "progress")]
            shows = (item.nodeid.partition("[")[0], switch, *where)
            if shows in seen:
                yield item
            seen.add(shows)
