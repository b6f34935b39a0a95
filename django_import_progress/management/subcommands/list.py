"""`import_progress list`: prints the newest jobs, one per line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ...core.errors import HistoryUnavailable
from ...core.job_state import state_of
from ...core.snapshot import Stored
from ...service.registry import get_sync_progress_manager
from ..terminal_text import line, printable_json

HELP = "Lists the jobs in Redis and in the history, newest first."


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument("--owner", help="only this owner's jobs: a user's primary key")
    parser.add_argument(
        "--limit", type=int, default=50, help="the maximum number of jobs (default: 50)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print what viewers receive, as one JSON array"
    )


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Print the jobs."""
    manager = get_sync_progress_manager(options["namespace"])
    try:
        listed: Mapping[str, Stored] = manager.newest(options["owner"], options["limit"])
    except HistoryUnavailable as error:
        command.stderr.write("The import history is unavailable; these are the jobs of Redis:")
        listed = error.read
    jobs = [state_of(job_id, stored).representation for job_id, stored in listed.items()]
    if options["json"]:
        command.stdout.write(printable_json(json.dumps(jobs, ensure_ascii=False)))
        return
    for job in jobs:
        command.stdout.write(f"{job['job_id']}  {line(job)}")
