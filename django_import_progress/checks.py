"""System checks: what is wrong with the settings, said before the first request."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error

from .conf import problems


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Report every wrong key and value of `IMPORT_PROGRESS`."""
    return [
        Error(problem.message, hint=problem.fix, id=f"django_import_progress.{problem.id}")
        for problem in problems()
    ]
