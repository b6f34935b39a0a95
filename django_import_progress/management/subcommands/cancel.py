"""`import_progress cancel <id>`: ask a job to stop."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...connections import get_sync_progress_manager
from ...core.answers import HAS_ENDED, NO_SUCH_JOB

HELP = "Asks a job to stop. Exits with 1 if it has ended, or is not there."


def add_arguments(parser: CommandParser) -> None:
    """See `Command`."""
    parser.add_argument("job", help="the job's id")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """See `Command`."""
    manager = get_sync_progress_manager(options["namespace"])
    if manager.request_cancel(options["job"]):
        command.stdout.write("The job was asked to stop.")
        return
    is_there = manager.get_progress(options["job"]) is not None
    raise CommandError(HAS_ENDED if is_there else NO_SUCH_JOB, returncode=1)
