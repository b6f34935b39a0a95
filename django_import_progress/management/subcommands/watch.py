"""`import_progress watch <id>`: follow a job to its end; the exit code tells which."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ...addresses import without_secrets
from ...conf import settings
from ...connections import get_impatient_manager, get_progress_manager
from ...core.errors import ProgressUnavailable
from ...core.keys import clean_job_id
from ...core.state import State
from ...displays import Display, display_on

HELP = (
    "Follows a job to its end, through any outage. Exits with 0 for done, 1 for failed,"
    " 2 for cancelled, 3 for a job that is gone."
)
EXIT_CODES = {"done": 0, "failed": 1, "cancelled": 2}
GONE = 3
INTERRUPTED = 130
"""What a shell makes of SIGINT."""


def add_arguments(parser: CommandParser) -> None:
    """See `Command`."""
    parser.add_argument("job", help="the job's id; it may begin later")
    parser.add_argument("--json", action="store_true", help="what viewers get, a line each")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """See `Command`."""
    job_id = clean_job_id(options["job"])
    display = display_on(command.stdout, as_json=options["json"])
    try:
        _say_if_redis_is_away(command, job_id, options["namespace"])
        with display:
            last = asyncio.run(_follow(job_id, options["namespace"], display))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(GONE if last.gone else EXIT_CODES[last.fields["status"]])


def _say_if_redis_is_away(command: BaseCommand, job_id: str, namespace: str | None) -> None:
    try:
        get_impatient_manager(namespace).get_progress(job_id)
    except ProgressUnavailable:
        url = without_secrets(settings.redis_url)
        command.stderr.write(f"Redis does not answer at {url}; waiting for it")


async def _follow(job_id: str, namespace: str | None, display: Display) -> State:
    manager = get_progress_manager(namespace)
    watcher = manager.watcher(job_id, max_per_second=display.max_per_second)
    try:
        while True:
            state = await watcher.next()
            assert state is not None  # Nothing closes the watcher before its job has ended.
            display.show(state)
            if state.ended:
                return state
    finally:
        watcher.close()
