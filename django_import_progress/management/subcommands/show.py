"""`import_progress show <id>`: prints one job."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...core.snapshot import to_json
from ...service.registry import get_sync_progress_manager
from ..terminal_text import line, printable, printable_json

HELP = "Shows a job: its fields, and what viewers see. Exits with 1 if it does not exist."


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument("job", help="the job's id")
    parser.add_argument("--json", action="store_true", help="print what viewers receive, as JSON")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Print the job.

    Raises:
        CommandError: the job does not exist.
    """
    job = get_sync_progress_manager(options["namespace"]).describe(options["job"])
    if job is None:
        raise CommandError(f"Job {options['job']} does not exist.", returncode=1)
    if options["json"]:
        command.stdout.write(printable_json(to_json(job).decode()))
        return
    command.stdout.write(line(job))
    width = max(len(printable(name)) for name in job)
    for name, value in job.items():
        command.stdout.write(f"  {printable(name):{width}}  {printable(value)}")
