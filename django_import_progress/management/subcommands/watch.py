"""`import_progress watch <id>`: follow a job to its end; the exit code tells which."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ...conf import settings
from ...core.errors import ProgressUnavailable
from ...core.job_state import State
from ...core.keys import clean_job_id
from ...redis.factory import without_secrets
from ...service.registry import get_impatient_manager, get_progress_manager
from ...watch.hub import Watcher
from ..display import Display, display_on

HELP = (
    "Follows a job to its end, through any outage. Exits with 0 for done, 1 for failed,"
    " 2 for cancelled, 3 for a job that disappears or does not appear."
)
EXIT_CODES = {"done": 0, "failed": 1, "cancelled": 2}
GONE = 3
PAUSE_SECONDS = 0.1
"""How long an answer of Redis is waited for at a time, once the job has been waited for."""
INTERRUPTED = 130
"""What a shell makes of SIGINT."""


def add_arguments(parser: CommandParser) -> None:
    """See `Command`."""
    parser.add_argument("job", help="the job's id; it may begin later")
    parser.add_argument(
        "--wait",
        type=_seconds,
        help="how many seconds to wait for a job that does not exist yet; IMPORT_PROGRESS's"
        " WAITING_SECONDS unless given",
    )
    parser.add_argument("--json", action="store_true", help="what viewers get, a line each")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """See `Command`."""
    job_id, namespace, wait = clean_job_id(options["job"]), options["namespace"], options["wait"]
    display = display_on(command.stdout, as_json=options["json"])
    seconds = settings.waiting_seconds if wait is None else wait
    try:
        _say_if_redis_is_away(command, job_id, namespace)
        with display:
            last = asyncio.run(_follow(job_id, namespace, display, seconds))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(_exit_code(command, last, f"Job {job_id} did not appear within {seconds:g} seconds."))


def _exit_code(command: BaseCommand, last: State | None, missing: str) -> int:
    if last is None:
        command.stderr.write(missing)
        return GONE
    return GONE if last.gone else EXIT_CODES[last.fields["status"]]


def _seconds(text: str) -> float:
    seconds = float(text)
    if 0 <= seconds < math.inf:
        return seconds
    raise ValueError(text)


def _say_if_redis_is_away(command: BaseCommand, job_id: str, namespace: str | None) -> None:
    try:
        get_impatient_manager(namespace).get_progress(job_id)
    except ProgressUnavailable:
        url = without_secrets(settings.redis_url)
        command.stderr.write(f"Redis does not answer at {url}; waiting for it")


async def _follow(
    job_id: str, namespace: str | None, display: Display, wait_seconds: float
) -> State | None:
    """Show each state to the last; None if the job does not appear in time."""
    manager = get_progress_manager(namespace)
    watcher = manager.watcher(job_id, max_per_second=display.max_per_second)
    try:
        state = await _first(watcher, wait_seconds)
        while state is not None:  # pragma: no branch - a time-out ends 3.11's tracing here
            display.show(state)
            if state.ended:
                break
            state = await watcher.next()
        return state
    finally:
        watcher.close()


async def _first(watcher: Watcher, wait_seconds: float) -> State | None:
    """Wait for the job; through an outage of Redis without a limit."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return await watcher.next(max(deadline - time.monotonic(), PAUSE_SECONDS))
        except TimeoutError:
            if watcher.found_nothing:  # pragma: no branch - else Redis is away: waits on
                return None
