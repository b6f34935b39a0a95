"""`import_progress relay`: forwards updates to the channel layer until it is told to end."""

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

HELP = "Forwards every update to the channel layer, for a project's own consumers; until SIGTERM."
SIGNALS = (signal.SIGTERM, signal.SIGINT)
FIX = (
    " Install django-import-progress[channel-layer] and set, for example, CHANNEL_LAYERS ="
    ' {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",'
    ' "CONFIG": {"hosts": ["redis://localhost:6379/0"]}}}'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add none of its own."""


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Relay until SIGTERM or SIGINT.

    Raises:
        CommandError: there is no channel layer that reaches other processes, or the updates are
            told by sharded pub/sub, which cannot be relayed.
    """
    layer = _layer()
    asyncio.run(_relay(command, options["namespace"] or settings.namespace, layer))


def _layer() -> Layer:
    try:
        layer = get_channel_layer()
    except InvalidChannelLayerError as error:
        raise CommandError(f"The channel layer cannot be had: {error}.{FIX}") from error
    if layer is None:
        raise CommandError(f"CHANNEL_LAYERS names no channel layer.{FIX}")
    if isinstance(layer, InMemoryChannelLayer):
        raise CommandError(f"InMemoryChannelLayer reaches no other process.{FIX}")
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
    with suppress(NotImplementedError):  # On Windows, where Ctrl-C still ends it.
        for number in SIGNALS:
            loop.add_signal_handler(number, running.cancel)
    command.stdout.write(f"Relaying {namespace} to the channel layer; Ctrl-C ends it.")
    command.stdout.flush()
    with suppress(asyncio.CancelledError):
        await running
