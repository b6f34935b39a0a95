"""Bars in real CSS frameworks: readable, and of the same form as without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

from django_import_progress import SyncProgressManager

from ..conftest import missing
from ..kit.asgi import AsgiServer
from ..kit.browser import IN_A_BROWSER
from ..kit.frameworks import FOLDER, FRAMEWORKS, framed
from ..kit.looks import contrasts, photograph, styles
from ..kit.states import in_all_states, settled

pytestmark = IN_A_BROWSER


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> Any:
    """Each framework, as installed by `make test` where there is npm."""
    framework = FRAMEWORKS[request.param]
    if not framework.path.exists():  # pragma: no cover - where the machine has everything
        missing(f"{request.param}: run `make test` with npm; {framework.path}")
    return framework


@pytest.mark.parametrize("compact", [False, True], ids=["full", "compact"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_all_texts_are_readable(
    live: AsgiServer,
    page: Page,
    jobs: SyncProgressManager,
    framework: Any,
    pictures: Path,
    scheme: str,
    compact: bool,
) -> None:
    ids = in_all_states(jobs).values()
    await framed(page, live.url, framework, ids, scheme=scheme, compact=compact)
    await settled(page)
    assert {what: n for what, n in (await contrasts(page)).items() if n < 4.5} == {}
    results = await Axe().run(page, "import-progress")
    assert results.violations_count == 0, results.generate_report()
    name = framework.path.relative_to(FOLDER).parts[0]
    await photograph(page, pictures / f"{name}-{scheme}{'-compact' * compact}")


@pytest.mark.parametrize("compact", [False, True], ids=["full", "compact"])
async def test_a_framework_does_not_change_the_form_of_a_bar(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, framework: Any, compact: bool
) -> None:
    ids = in_all_states(jobs).values()
    forms = []
    for each in (None, framework):
        await framed(page, live.url, each, ids, compact=compact)
        await settled(page)
        forms.append(await styles(page))
    plain, styled = forms
    changes = {
        f"{part} {name}: {values[name]} -> {other[name]}"
        for (part, values), (_, other) in zip(plain, styled, strict=True)
        for name in values
        if values[name] != other[name]
    }
    assert changes == set()
