"""`import_progress reconcile`: repairs the history from Redis, and ends lost imports."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error

from ..with_history import history

HELP = "Ends imports whose workers were lost, and repairs the history from Redis; for cron."
ALL_NAMESPACES = True
"""Without `--namespace` it works on all of them."""
WRITE_SECONDS = 30.0
"""How long it waits until what it has found is written."""


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this subcommand: there are none."""


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Repair, and print what was repaired."""
    lost = history("lost")
    try:
        repairs = lost.reconcile(options["namespace"])
        history("background").background.join(WRITE_SECONDS)
    except Error as error:
        raise CommandError(f"Cannot write the history: {error}") from error
    command.stdout.write(
        f"{repairs.lost} lost, {repairs.ended} ended and {repairs.added} added from Redis"
    )
