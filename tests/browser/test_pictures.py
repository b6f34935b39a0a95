"""The pictures of the documentation can be drawn: each state of a bar is reached."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from playwright.async_api import Browser

from ..kit.asgi import AsgiServer
from ..kit.started import ROOT


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
async def test_every_state_is_drawn(live: AsgiServer, browser: Browser, tmp_path: Path) -> None:
    pictures = runpy.run_path(str(ROOT / ".ci" / "pictures.py"))
    file = tmp_path / "widget.png"
    await pictures["draw"](browser, live.url, pictures["PICTURES"]["widget-320"], file)
    assert file.read_bytes().startswith(b"\x89PNG")
