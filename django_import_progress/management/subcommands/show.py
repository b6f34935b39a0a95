"""`import_progress show <id>`: prints one job."""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...core.keys import clean_job_id
from ...core.snapshot import Fields, to_json
from ...core.terminal_text import line, printable, printable_json
from ...service.registry import get_progress_manager

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
    job = asyncio.run(_read(clean_job_id(options["job"]), options["namespace"]))
    if job is None:
        raise CommandError(f"Job {options['job']} does not exist.", returncode=1)
    if options["json"]:
        command.stdout.write(printable_json(to_json(job).decode()))
        return
    command.stdout.write(line(job))
    width = max(len(printable(name)) for name in job)
    for name, value in job.items():
        command.stdout.write(f"  {printable(name):{width}}  {printable(value)}")


async def _read(job_id: str, namespace: str | None) -> Fields | None:
    manager = get_progress_manager(namespace)
    return await manager.describe(job_id)
