"""The switch of negative controls, and where pictures go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.conftest import defence

__all__ = ["defence", "pictures"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The folder for pictures, which `make pictures` names, so that someone can look at them."""
    folder = Path(os.environ.get("PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
