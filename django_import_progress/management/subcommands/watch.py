"""`import_progress watch <id>`: follows a job until it ends; the exit code is the outcome."""

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
    "Follows a job until it ends, through any outage. Exits with 0 for done, 1 for failed,"
    " 2 for cancelled, 3 if the job disappears or does not appear."
)
EXIT_CODES = {"done": 0, "failed": 1, "cancelled": 2}
GONE = 3
PAUSE_SECONDS = 0.1
"""How long to wait at a time, once `--wait` has passed and Redis has not responded yet."""
INTERRUPTED = 130
"""The exit code that shells report for SIGINT."""


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument("job", help="the job's id; the job may not exist yet")
    parser.add_argument(
        "--wait",
        type=_seconds,
        help="how many seconds to wait for a job that does not exist yet (default: WAITING_SECONDS"
        " in IMPORT_PROGRESS)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print each update that viewers receive, one per line"
    )


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Show the job until it ends, and exit with the code of its outcome."""
    job_id, namespace, wait = clean_job_id(options["job"]), options["namespace"], options["wait"]
    display = display_on(command.stdout, as_json=options["json"])
    seconds = settings.waiting_seconds if wait is None else wait
    try:
        _warn_if_redis_is_unavailable(command, job_id, namespace)
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


def _warn_if_redis_is_unavailable(command: BaseCommand, job_id: str, namespace: str | None) -> None:
    try:
        get_impatient_manager(namespace).get_progress(job_id)
    except ProgressUnavailable:
        url = without_secrets(settings.redis_url)
        command.stderr.write(f"Cannot reach Redis at {url}; waiting for it")


async def _follow(
    job_id: str, namespace: str | None, display: Display, wait_seconds: float
) -> State | None:
    """Show each state, and return the last one; None if the job does not appear in time."""
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
    """Wait for the job's first state. During an outage of Redis this has no time limit."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return await watcher.next(max(deadline - time.monotonic(), PAUSE_SECONDS))
        except TimeoutError:
            if watcher.found_nothing:  # pragma: no branch - else Redis is unavailable
                return None
