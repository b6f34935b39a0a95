"""`manage.py import_progress relay`: it relays, stops by a signal, and names what is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command

from django_import_progress import SyncProgressManager

from ..kit.groups import configuration, joined
from ..kit.processes import RedisProcess
from ..kit.started import ROOT
from ..kit.waiting import wait_for

STOP_SECONDS = 5.0


def relays(client: redis.Redis) -> bool:
    """Return whether a relay is subscribed."""
    return bool(client.pubsub_numpat() > 0)


@contextmanager
def in_a_process(server: RedisProcess, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command as a supervisor does."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.site.settings",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "example_project")]),
        "TEST_SITE_REDIS": server.url,
    }
    command = [sys.executable, "-m", "django", "import_progress", "relay", *words]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_relay(
    site: RedisProcess, foreign: redis.Redis, settings: Any, number: signal.Signals
) -> None:
    settings.CHANNEL_LAYERS = configuration("pubsub", site.url)

    def stop_it() -> None:
        wait_for(lambda: relays(foreign), "the relay to be subscribed")
        os.kill(os.getpid(), number)

    output = StringIO()
    with ThreadPoolExecutor(1) as thread:
        stopping = thread.submit(stop_it)
        call_command("import_progress", "relay", "--namespace", "orders", stdout=output)
        stopping.result()  # pragma: no cover - the signal may end the tracing of this thread
    assert "Relaying orders" in output.getvalue()  # pragma: no cover
    assert not relays(foreign)  # pragma: no cover


async def test_the_process_relays_and_ends_promptly(
    site: RedisProcess, jobs: SyncProgressManager
) -> None:
    with in_a_process(site) as process:
        assert process.stdout is not None
        assert "Relaying import_progress" in process.stdout.readline()
        async with joined("pubsub", site.url) as member:
            jobs.create("j1")
            await member.hears("j1", status="queued")
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        ({}, "CHANNEL_LAYERS has no default channel layer"),
        (
            {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
            "does not reach other processes",
        ),
        ({"default": {"BACKEND": "channels_redis_is.not.Installed"}}, "Cannot import BACKEND"),
    ],
)
def test_a_missing_layer_is_an_error_with_the_fix(
    settings: Any, layers: dict[str, Any], problem: str
) -> None:
    settings.CHANNEL_LAYERS = layers
    with pytest.raises(CommandError, match=problem) as caught:
        call_command("import_progress", "relay")
    assert "django-import-progress[channel-layer]" in str(caught.value)


def test_sharded_channels_are_refused_with_the_fix(settings: Any) -> None:
    settings.CHANNEL_LAYERS = configuration("core", "redis://127.0.0.1:1/0")
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis+cluster://127.0.0.1:1?sharded_pubsub=yes"}
    with pytest.raises(CommandError, match="remove sharded_pubsub=yes from REDIS_URL"):
        call_command("import_progress", "relay")
