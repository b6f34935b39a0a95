"""A link to a Cluster whose servers tell of their own jobs alone: a connection to each."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any

from ..callbacks import contained
from ..cancellation import end_tasks, run_together
from ..core.errors import ProgressUnavailable
from ..redis.causes import REDIS_ERRORS
from ..redis.cluster import ShardedCluster
from ..redis.executor import CALL_SECONDS, AsyncClient, perform
from ..redis.pubsub import locate_key
from ..redis.timeouts import RunningTimeout
from .reconnect import ReconnectPolicy
from .shard_connection import Shard
from .subscriber import AGAIN_SECONDS, Subscriber
from .watched_job import WatchedJob

ASK_SECONDS = 1.0
"""How long the client may take to find who has a job."""


class ShardedSubscriber(Subscriber):
    """Connections to those servers that have a watched job, however many watch.

    Each breaks and is mended by itself, so that a server that is down keeps nobody from the jobs
    of the others.
    """

    _redis: ShardedCluster

    def __init__(
        self, redis: AsyncClient, slots: dict[str, WatchedJob], heartbeat_seconds: float
    ) -> None:
        super().__init__(redis, slots, heartbeat_seconds)
        self._shards: dict[str, Shard] = {}
        self._homes: dict[int, Shard] = {}
        """On whose connection what is watched of a hash slot is."""
        self._heard: dict[int, set[str]] = {}
        """What that is: channels."""
        self._sought: dict[int, set[str]] = {}
        """Channels of hash slots that have no home, while it is looked for."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_changed = asyncio.Event()
        self._is_over = False
        self._fault: BaseException | None = None
        """Of ours, in one of the tasks: the link has to begin anew."""

    def changed(self, channel: str) -> None:
        """See `Subscriber`."""
        if channel in self._slots:
            self._place([channel])
        else:
            self._leave(channel)
        self._has_changed.set()

    async def run(self) -> None:
        """See `Subscriber`."""
        try:
            async with RunningTimeout(CALL_SECONDS):
                await self._redis.initialize()
            self._place(self._slots)
            await run_together([self._wait_until_nobody_watches(), *self._readers()])
        finally:
            self._is_over = True
            await end_tasks(self._tasks)

    async def _wait_until_nobody_watches(self) -> None:
        while self._slots:
            self._has_changed.clear()
            await self._has_changed.wait()
            if self._fault is not None:
                raise self._fault

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._note_the_end)

    def _note_the_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._fault = task.exception()
            self._has_changed.set()

    def _place(self, channels: Iterable[str]) -> None:
        """Have channels heard at the servers that have them, as far as the client knows."""
        if self._is_over:
            return
        for channel in channels:
            number = self._redis.keyslot(channel)
            home = self._homes.get(number) or self._home(channel)
            if home is None:
                self._seek(number, channel)
            else:
                self._homes[number] = home
                self._heard.setdefault(number, set()).add(channel)
                home.add(channel)

    def _home(self, channel: str) -> Shard | None:
        try:
            node = self._redis.get_node_from_key(channel)
        except REDIS_ERRORS:
            node = None
        if node is None:  # The client is about to begin anew.
            return None
        shard = self._shards.get(node.name)
        if shard is None:
            shard = Shard(node, self._take, self._read_kept, self._moved)
            self._shards[node.name] = shard
            self._start(self._serve(shard))
        return shard

    def _leave(self, channel: str) -> None:
        number = self._redis.keyslot(channel)
        if number in self._homes:
            self._homes[number].remove(channel)
            self._heard[number].discard(channel)
            if not self._heard[number]:
                del self._homes[number], self._heard[number]

    async def _serve(self, shard: Shard) -> None:
        losses = ReconnectPolicy(self._redis)
        shard.on_restored = contained(losses.end)
        while shard.channels:
            try:
                await shard.run()
            except Exception as error:
                await losses.wait_before_retry(error, served=shard.served)
                if await self._place_anew(shard):  # pragma: no cover - or a server says so first
                    losses.end()
        del self._shards[shard.node.name]

    async def _place_anew(self, shard: Shard) -> bool:
        """Have what one had that is lost heard at other servers, where they have taken it over.

        Returns:
            Whether they have taken over all.
        """
        taken = await self._taken_over(shard)
        if taken:  # On its way, the client learns of it too.
            await self._is_found(next(iter(self._heard[taken[0]])))
        for number in [number for number in taken if self._homes.get(number) is shard]:
            self._place(self._evicted(number))
        return bool(taken) and not shard.channels

    async def _taken_over(self, shard: Shard) -> list[int]:
        """Ask another server which hash slots it is."""
        lost = (shard.node.host, shard.node.port)
        others = [node for node in self._redis.get_nodes() if node.name != shard.node.name]
        shares: Any = {}
        with suppress(*REDIS_ERRORS):  # Or there is no other.
            async with RunningTimeout(ASK_SECONDS):
                shares = await self._redis.cluster_slots(target_nodes=random.choice(others))
        parts = [range(a, b + 1) for (a, b), share in shares.items() if share["primary"] != lost]
        numbers = [number for number, home in self._homes.items() if home is shard]
        return [number for number in numbers if any(number in part for part in parts)]

    def _evicted(self, number: int) -> set[str]:
        home, channels = self._homes.pop(number), self._heard.pop(number)
        for channel in channels:
            home.let_go(channel)
        return channels

    def _moved(self, shard: Shard, moved: str | int) -> None:
        """Look for the new home of a hash slot, or that of a channel.

        A server that has given it away says so to whoever is subscribed to a channel of it, and
        answers whoever subscribes that another one has it.
        """
        number = moved if isinstance(moved, int) else self._redis.keyslot(moved)
        if self._homes.get(number) is shard:
            for channel in self._evicted(number):
                self._seek(number, channel)

    def _seek(self, number: int, channel: str) -> None:
        if number not in self._sought:
            self._sought[number] = set()
            self._start(self._find(number))
        self._sought[number].add(channel)

    async def _find(self, number: int) -> None:
        while watched := self._sought[number] & self._slots.keys():
            if await self._is_found(next(iter(watched))):
                break
            await asyncio.sleep(AGAIN_SECONDS)
        self._place(self._sought.pop(number) & self._slots.keys())

    async def _is_found(self, channel: str) -> bool:
        """Have it ask for a key: on its way to who has the slot now, it learns who that is."""
        try:
            await perform(self._redis, locate_key(channel), seconds=ASK_SECONDS)
        except ProgressUnavailable:
            return False
        return True
