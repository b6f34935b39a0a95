"""The switch of negative controls."""

from __future__ import annotations

from tests.faults.conftest import defence

__all__ = ["defence"]
