"""What staff see of all imports: a project's own consumer, fed by `import_progress relay`."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from django_import_progress import ProgressUnavailable, get_progress_manager
from django_import_progress.relay import progress_group


class ImportsNow(AsyncJsonWebsocketConsumer):
    """Sends the state of each import: those that there are, then each update."""

    async def connect(self) -> None:
        """Let staff in, and tell what there is."""
        user = self.scope["user"]
        if not (user.is_active and user.is_staff):
            await self.close()
            return
        # First the group, then the jobs: what comes between waits until we are through here, and
        # is told after.
        await self.channel_layer.group_add(progress_group(), self.channel_name)
        await self.accept()
        try:
            jobs = await get_progress_manager().jobs()
        except ProgressUnavailable:
            jobs = []  # The relay tells all as soon as Redis is back.
        for job in reversed(jobs):
            await self.send_json(job)

    async def disconnect(self, code: int) -> None:
        """Leave the group."""
        await self.channel_layer.group_discard(progress_group(), self.channel_name)

    async def import_progress_update(self, event: dict[str, Any]) -> None:
        """Pass on what the relay tells: Channels calls the method that is named as the type."""
        await self.send_json(event["data"])
