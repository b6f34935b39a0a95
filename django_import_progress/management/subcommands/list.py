"""`import_progress list`: the newest jobs, a line each."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ...core.job_state import state_of
from ...core.snapshot import Fields
from ...core.terminal_text import line, printable_json
from ...service.registry import get_progress_manager

HELP = "Lists the jobs that were made by create() and track_import(), the newest first."


def add_arguments(parser: CommandParser) -> None:
    """See `Command`."""
    parser.add_argument("--owner", help="of one owner: a user's primary key")
    parser.add_argument("--limit", type=int, default=50, help="how many; 50 unless given")
    parser.add_argument("--json", action="store_true", help="as viewers get them, in one array")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """See `Command`."""
    jobs = asyncio.run(_read(options["namespace"], options["owner"], options["limit"]))
    if options["json"]:
        command.stdout.write(printable_json(json.dumps(jobs, ensure_ascii=False)))
        return
    for job in jobs:
        command.stdout.write(f"{job['job_id']}  {line(job)}")


async def _read(namespace: str | None, owner: str | None, limit: int) -> list[Fields]:
    manager = get_progress_manager(namespace)
    found = await manager.listed(owner, limit)
    return [state_of(job_id, stored).representation for job_id, stored in found.items()]
