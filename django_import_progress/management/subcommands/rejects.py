"""`import_progress rejects <id>`: prints the rejected rows of a job as CSV."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...service.registry import get_sync_progress_manager
from ...service.sync_manager import SyncProgressManager
from ...tracker.rejects.csv_file import BYTE_ORDER_MARK, csv_lines
from ..terminal_text import printable

HELP = (
    "Prints the rejected rows of a job as CSV, from Redis or from the history. Exits with 1 if"
    " there are none."
)


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument("job", help="the job's id")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Print the report: to a file or a pipe unchanged, to a terminal without control characters.

    Raises:
        CommandError: the job does not exist, or has no rejected rows.
    """
    text = _report(get_sync_progress_manager(options["namespace"]), options["job"])
    if command.stdout.isatty():
        lines = text.removeprefix(BYTE_ORDER_MARK).splitlines()
        text = "".join(f"{printable(line)}\n" for line in lines)
    else:
        with suppress(AttributeError):  # Only real files have an encoding.
            command.stdout.reconfigure(encoding="utf-8", newline="")
    command.stdout.write(text, ending="")


def _report(manager: SyncProgressManager, job_id: str) -> str:
    [stored] = manager.find([job_id])
    if stored is None or stored.deleted:
        raise CommandError(f"Job {job_id} does not exist.", returncode=1)
    report = manager.report(job_id)
    if report.rejects:
        return "".join(csv_lines(report))
    file = manager.past_report(job_id, stored)
    if file is None:
        raise CommandError(f"Job {job_id} has no rejected rows.", returncode=1)
    with file:
        return str(file.read().decode())
