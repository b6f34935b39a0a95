"""`import_progress prune`: deletes old runs from the history."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error

from ..with_history import history

HELP = "Deletes imports that ended long ago from the history, with their reports."
ALL_NAMESPACES = True
"""Without `--namespace` it works on all of them."""
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _age(text: str) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is not an age: use a number and m, h, d or w, as in 90d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument(
        "--older-than",
        type=_age,
        required=True,
        metavar="AGE",
        help="how long ago they ended at least: 90d, 12h, 4w",
    )
    parser.add_argument("--dry-run", action="store_true", help="only count them")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Delete, and print how many imports were deleted."""
    is_dry_run = options["dry_run"]
    try:
        count = history("prune").prune(
            options["older_than"], options["namespace"], is_dry_run=is_dry_run
        )
    except OverflowError as error:
        raise CommandError("No import is that old: use a smaller age") from error
    except Error as error:
        raise CommandError(f"Cannot read or write the history: {error}") from error
    verb = "would be deleted" if is_dry_run else "deleted"
    command.stdout.write(f"{count} {verb}")
