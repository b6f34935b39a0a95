"""A consumer of the project's own: shows all imports to staff, fed by `import_progress relay`."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from django_import_progress import ProgressUnavailable, get_progress_manager
from django_import_progress.relay import progress_group


class ImportsNow(AsyncJsonWebsocketConsumer):
    """Sends the current imports, and then each update."""

    async def connect(self) -> None:
        """Accept staff, and send the current imports."""
        user = self.scope["user"]
        if not (user.is_active and user.is_staff):
            await self.close()
            return
        # First join the group, then read the jobs: updates in between are delivered after this
        # method has returned.
        await self.channel_layer.group_add(progress_group(), self.channel_name)
        await self.accept()
        try:
            jobs = await get_progress_manager().jobs()
        except ProgressUnavailable:
            jobs = []  # The relay sends them once Redis is available again.
        for job in reversed(jobs):
            await self.send_json(job)

    async def disconnect(self, code: int) -> None:
        """Leave the group."""
        await self.channel_layer.group_discard(progress_group(), self.channel_name)

    async def import_progress_update(self, event: dict[str, Any]) -> None:
        """Forward an update of the relay: Channels calls the method named after its type."""
        await self.send_json(event["data"])
