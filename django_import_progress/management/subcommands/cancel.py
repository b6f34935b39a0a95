"""`import_progress cancel <id>`: requests cancellation of a job."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...service.registry import get_sync_progress_manager

HELP = "Requests cancellation of a job. Exits with 1 if it has ended or does not exist."


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument("job", help="the job's id")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Request cancellation of the job.

    Raises:
        CommandError: the job has ended or does not exist.
    """
    manager = get_sync_progress_manager(options["namespace"])
    job_id = options["job"]
    if manager.request_cancel(job_id):
        command.stdout.write(f"Cancellation of job {job_id} was requested.")
        return
    problem = "does not exist" if manager.describe(job_id) is None else "has ended"
    raise CommandError(f"Job {job_id} {problem}.", returncode=1)
