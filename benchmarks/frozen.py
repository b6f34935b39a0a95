"""What pages, polls and queueing take while Redis is frozen: the first one, and those after it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.template import Context, Template
from django.test import AsyncClient, Client, override_settings

from django_import_progress import get_sync_progress_manager
from django_import_progress.access import make_ticket
from django_import_progress.contrib.queue_status import create_queued
from tests.kit.admin import ADMIN, add_admin
from tests.kit.processes import RedisProcess, valkey_binary
from tests.kit.waiting import wait_for

from .report import Report, Target
from .rounds import medians

ROUNDS = 3
LATER = 5
BARS = 10
ROWS = 100
PAGE = "{% load import_progress %}{% for id in ids %}{% import_progress id %}{% endfor %}"
PAGE_SECONDS = 1.5
LATER_SECONDS = 0.3

Contenders = dict[str, Callable[[], object]]
Seconds = dict[str, list[float]]


def run() -> Report:
    """Measure."""
    site = SimpleNamespace(
        INSTALLED_APPS=settings.INSTALLED_APPS,
        MIDDLEWARE=settings.MIDDLEWARE,
        TEMPLATES=settings.TEMPLATES,
    )
    add_admin(site)
    with RedisProcess(valkey_binary()) as process:
        site.IMPORT_PROGRESS = {"REDIS_URL": process.url}
        site.ROOT_URLCONF = "tests.site.uploads"
        logging.disable()  # Each failure is logged.
        with override_settings(**vars(site)):
            healthy, first, later = _measure(process)
        logging.disable(logging.NOTSET)
    names = list(healthy)
    middle = [medians(found) for found in (healthy, first, later)]
    pages = [name for name in names if name.startswith("a ")]
    return Report(
        name="frozen",
        title="what pages, polls and queueing take while Redis is frozen",
        how=f"SIGSTOP, {ROUNDS} rounds; the first call, and {LATER} calls after it; medians",
        columns=["what", "ms, healthy", "ms, first", "ms, later"],
        rows=[[name, *(f"{1000 * found[name]:,.1f}" for found in middle)] for name in names],
        targets=[
            *(
                Target(what=f"{name}, first", found=max(first[name]), most=PAGE_SECONDS, unit=" s")
                for name in pages
            ),
            *(
                Target(what=f"{name}, later", found=max(later[name]), most=LATER_SECONDS, unit=" s")
                for name in names
                if name not in pages
            ),
        ],
        raw={"healthy": healthy, "first": first, "later": later},
    )


def _measure(process: RedisProcess) -> tuple[Seconds, Seconds, Seconds]:
    call_command("migrate", verbosity=0)
    for number in range(ROWS):
        Group.objects.create(name=get_sync_progress_manager().create(f"j{number}"))
    staff = Client()
    staff.force_login(User.objects.create_user(**ADMIN))
    page = Template(PAGE)
    ids = [f"j{number}" for number in range(BARS)]
    address = f"/progress/jobs/{make_ticket('j1')}/"
    new = itertools.count()

    def shown() -> str:
        return page.render(Context({"ids": ids}))

    contenders: Contenders = {
        f"a page of {BARS} bars": shown,
        f"a changelist of {ROWS} rows": lambda: staff.get("/admin/auth/group/"),
        "polls, WSGI": lambda: Client().get(f"{address}stream/"),
        "polls, ASGI": lambda: asyncio.run(_get(address)),
        "delay()": lambda: create_queued(None, f"new{next(new)}", None, {}),
    }
    healthy: Seconds = {name: [] for name in contenders}
    first: Seconds = {name: [] for name in contenders}
    later: Seconds = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, do in contenders.items():
            do()  # It is connected.
            healthy[name] += [_took(do) for _ in range(LATER)]
            with process.frozen():
                first[name].append(_took(do))
                later[name] += [_took(do) for _ in range(LATER)]
            wait_for(lambda: 'data-status="queued"' in shown(), "Redis to be back")
    return healthy, first, later


async def _get(address: str) -> Any:
    return await AsyncClient().get(address)


def _took(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began
