"""`import_progress cancel <id>`: ask a job to stop."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...service.registry import get_sync_progress_manager

HELP = "Requests cancellation of a job. Exits with 1 if it has ended, or does not exist."


def add_arguments(parser: CommandParser) -> None:
    """See `Command`."""
    parser.add_argument("job", help="the job's id")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """See `Command`."""
    manager = get_sync_progress_manager(options["namespace"])
    job_id = options["job"]
    if manager.request_cancel(job_id):
        command.stdout.write(f"Cancellation of job {job_id} was requested.")
        return
    is_known = manager.describe(job_id) is not None
    error = f"Job {job_id} has ended." if is_known else f"There is no job {job_id}."
    raise CommandError(error, returncode=1)
