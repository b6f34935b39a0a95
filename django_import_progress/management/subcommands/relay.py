"""`import_progress relay`: forwards updates to the channel layer until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import signal
from contextlib import suppress
from typing import Any

from channels.exceptions import InvalidChannelLayerError
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from ...conf import settings
from ...relay import Layer, Relay
from ...service.registry import get_progress_manager

HELP = "Forwards every update to the channel layer, for your own consumers, until SIGTERM."
SIGNALS = (signal.SIGTERM, signal.SIGINT)
FIX = (
    " Install django-import-progress[channel-layer] and set, for example, CHANNEL_LAYERS ="
    ' {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",'
    ' "CONFIG": {"hosts": ["redis://localhost:6379/0"]}}}'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: this subcommand has no arguments."""


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Relay until SIGTERM or SIGINT.

    Raises:
        CommandError: there is no channel layer that reaches other processes, or updates are
            published with sharded pub/sub, which cannot be relayed.
    """
    layer = _layer()
    asyncio.run(_relay(command, options["namespace"], layer))


def _layer() -> Layer:
    try:
        layer = get_channel_layer()
    except InvalidChannelLayerError as error:
        raise CommandError(f"Cannot load the channel layer: {error}.{FIX}") from error
    if layer is None:
        raise CommandError(f"CHANNEL_LAYERS has no default channel layer.{FIX}")
    if isinstance(layer, InMemoryChannelLayer):
        raise CommandError(f"InMemoryChannelLayer does not reach other processes.{FIX}")
    return layer


async def _relay(command: BaseCommand, namespace: str, layer: Layer) -> None:
    try:
        relay = Relay(
            get_progress_manager(namespace),
            layer,
            heartbeat_seconds=settings.heartbeat_seconds,
            max_per_second=settings.max_updates_per_second,
        )
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from error
    running = asyncio.create_task(relay.run())
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # On Windows, where Ctrl-C works without a handler.
        for number in SIGNALS:
            loop.add_signal_handler(number, running.cancel)
    command.stdout.write(f"Relaying {namespace} to the channel layer; press Ctrl-C to stop.")
    command.stdout.flush()
    with suppress(asyncio.CancelledError):
        await running
