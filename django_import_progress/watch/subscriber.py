"""One life of the pub/sub connection: subscribe, wait for the confirmation, read, and hear."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from redis.asyncio.client import PubSub
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..cancellation import run_together
from ..core.command import RedisCommand
from ..core.digests import PORTION, check
from ..core.errors import ProgressUnavailable
from ..core.keys import Keys
from ..core.pacing import PING_SECONDS, READ_INTERVAL_SECONDS, SILENCE_SECONDS
from ..core.snapshot import Stored, as_text
from ..metrics import process_metrics
from ..redis.executor import AsyncClient, drop_idle_connections, is_clustered, read_all
from ..redis.hash_slots import server_of
from ..redis.pools import is_exhausted
from ..redis.pubsub import check_primary, subscription
from .job_reader import JobReader
from .pubsub_connection import Message, PubSubConnection
from .watched_job import PendingRead, WatchedJob

READ_SECONDS = 3.0
"""How long one pipeline of reads may take."""
AGAIN_SECONDS = 2.0
"""After so long a job is read again that could not be read while others could."""


class Subscriber:
    """One connection, subscribed to the channels of `slots`, which the hub goes on to change.

    Six tasks share the work, so that none waits for another: one talks (subscribes, pings), one
    listens, one reads hashes, one has all of them read at each heartbeat, one those whose worker
    is late, and one asks the sentinels, where there are any. The first that fails ends them all.
    """

    def __init__(
        self, redis: AsyncClient, slots: dict[str, WatchedJob], heartbeat_seconds: float
    ) -> None:
        self._redis = redis
        self._slots = slots
        self._heartbeat_seconds = heartbeat_seconds
        self._line: PubSubConnection | None = None
        self._to_read: dict[WatchedJob, bool] = {}
        """Which jobs to read, and whether it counts as a heartbeat if they are absent."""
        self._has_to_read = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._ahead = 0.0
        """By how many µs Redis's clock is ahead of ours."""
        self.served = False
        """Whether Redis has answered a read."""
        self.on_restored: Callable[[], None] | None = None
        """Called when it first has."""

    def changed(self, channel: str) -> None:
        """Take note that somebody began, or everybody stopped, to watch."""
        if self._line is not None:  # Else it will begin with what is watched by then.
            self._line.changed(channel)

    def request_read(self, slot: WatchedJob, *, heartbeat: bool = False) -> None:
        """Have a job read soon; at a heartbeat it counts if it is absent."""
        self._to_read[slot] = self._to_read.get(slot, False) or heartbeat
        self._has_to_read.set()

    def serve(self) -> None:
        """Take note that Redis has answered a read."""
        if not self.served and self.on_restored is not None:
            self.on_restored()
        self.served = True

    async def run(self) -> None:
        """Serve until nobody watches.

        Raises:
            RedisError, OSError, TimeoutError, ProgressUnavailable: the link broke.
        """
        async with subscription(self._redis) as pubsub:
            self._line = line = self._new_line(pubsub)
            await run_together([line.talk(), line.listen(), self._ask(pubsub), *self._readers()])

    def _new_line(self, pubsub: PubSub) -> PubSubConnection:
        return PubSubConnection(pubsub, self._slots, self._take, self._read_kept)

    def _readers(self) -> list[Coroutine[Any, Any, None]]:
        return [self._read(), self._beat(), self._look_for_the_stalled()]

    def _read_kept(self, channel: str) -> None:
        self.request_read(self._slots[channel])

    def _take(self, message: Message) -> bool:
        kind, channel = message["type"], message["channel"]
        slot = None if channel is None else self._slots.get(as_text(channel))
        if slot is None:
            return False
        if kind in {"subscribe", "ssubscribe"}:
            # What was published before is lost, and what an earlier link was to read.
            slot.has_due_read = False
            self.request_read(slot)
        elif kind in {"message", "smessage"}:
            return self._pass_on(slot, message["data"])
        return False

    def _pass_on(self, slot: WatchedJob, payload: bytes | str) -> bool:
        changed = slot.hear(payload)
        if slot.view.needs_read and not slot.has_due_read:
            self._read_soon(slot)
        if changed:
            self._tell(slot)
        return changed

    def _read_soon(self, slot: WatchedJob) -> None:
        now = self._clock()
        if now < slot.read_again_at:
            slot.has_due_read = True
            self._loop.call_at(slot.read_again_at, self._read_now, slot)
        else:
            slot.read_again_at = now + READ_INTERVAL_SECONDS
            self.request_read(slot)

    def _read_now(self, slot: WatchedJob) -> None:
        slot.has_due_read = False
        slot.read_again_at = self._clock() + READ_INTERVAL_SECONDS
        if slot.view.needs_read and self._slots.get(slot.channel) is slot:
            self.request_read(slot)

    def _tell(self, slot: WatchedJob) -> None:
        state = slot.view.state
        if state is not None and state.gone and self._slots.get(slot.channel) is slot:
            # Who comes from now on waits for another life of the job.
            del self._slots[slot.channel]
            self.changed(slot.channel)
        for watcher in tuple(slot.watchers):
            watcher.wake()

    async def _read(self) -> None:
        reading = JobReader(self._read_chunk, self._is_broken, self._put_off)
        try:
            await run_together([self._hand_out(reading), reading.fail()])
        finally:
            await reading.aclose()

    async def _hand_out(self, reading: JobReader) -> None:
        while True:
            await self._has_to_read.wait()
            self._has_to_read.clear()
            asked, self._to_read = self._to_read, {}
            for slot, is_beat in asked.items():
                reading.add(self._server_of(slot), slot, heartbeat=is_beat)

    def _server_of(self, slot: WatchedJob) -> str:
        key = slot.calls.keys.hash(slot.view.job_id)
        return server_of(self._redis, key) if is_clustered(self._redis) else ""

    async def _read_chunk(self, slots: list[WatchedJob], heartbeat: bool) -> None:
        try:
            await (self._read_changed(slots) if heartbeat else self._read_all_of(slots))
        except ProgressUnavailable:
            await drop_idle_connections(self._redis)  # They may be as dead.
            raise

    def _is_broken(self, error: ProgressUnavailable) -> bool:
        """Tell whether the link is to be given up since a read has failed.

        Not where the server is slow (whether it is silent is for the pings to find out), and not
        where one server of several is out of reach.
        """
        cause = error.__cause__
        is_slow = isinstance(cause, TimeoutError | RedisTimeoutError)
        return not (is_slow or is_clustered(self._redis) or is_exhausted(self._redis, cause))

    async def _read_all_of(self, slots: list[WatchedJob]) -> None:
        parts = [[PendingRead.of(slot)] for slot in slots]
        gets = [slot.calls.get(slot.view.job_id) for slot in slots]
        for [asked], stored in await self._answers(parts, gets):
            if stored is not None:
                self._ahead = stored.read_at - self._clock() * 1e6
            asked.slot.known = None
            self._take_in(asked, stored, heartbeat=False)

    async def _read_changed(self, slots: list[WatchedJob]) -> None:
        """Have Redis compare, at a heartbeat: most jobs are as they were."""
        now = self._now_in_redis()
        known = [PendingRead.of(slot) for slot in slots]
        size = 1 if is_clustered(self._redis) else PORTION
        parts = [known[start : start + size] for start in range(0, len(known), size)]
        checks = [check(*_known_digests(part, now)) for part in parts]
        for portion, answer in await self._answers(parts, checks):
            self._ahead = answer.read_at - self._clock() * 1e6
            for place, asked in enumerate(portion):
                if place in answer.found:
                    stored, asked.slot.known = answer.found[place]
                    self._take_in(asked, stored, heartbeat=True)
                elif asked.slot.answered < asked.joined:
                    asked.slot.answered = asked.joined
                    self._tell(asked.slot)

    async def _answers(
        self, parts: list[list[PendingRead]], calls: list[RedisCommand[Any]]
    ) -> list[tuple[list[PendingRead], Any]]:
        """Send a call for each portion."""
        answers = await read_all(self._redis, calls, seconds=READ_SECONDS)
        self.serve()
        return list(zip(parts, answers, strict=True))

    def _take_in(self, asked: PendingRead, stored: Stored | None, *, heartbeat: bool) -> None:
        slot = asked.slot
        waited, slot.answered = slot.answered < asked.joined, asked.joined
        was_known = slot.view.state is not None
        is_news = slot.view.apply_read(stored, asked.since, heartbeat=heartbeat)
        process_metrics.resyncs += is_news and was_known
        if is_news or waited:
            self._tell(slot)

    def _put_off(self, slot: WatchedJob) -> None:
        self._loop.call_later(AGAIN_SECONDS, self._ask_again, slot)

    def _ask_again(self, slot: WatchedJob) -> None:
        if self._slots.get(slot.channel) is slot:
            self.request_read(slot)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            for slot in self._slots.values():
                self.request_read(slot, heartbeat=True)

    async def _look_for_the_stalled(self) -> None:
        """Read a job as soon as its worker should have been heard of: Redis's clock decides."""
        while True:
            await asyncio.sleep(PING_SECONDS)
            now = self._now_in_redis()
            for slot in self._slots.values():
                if slot.view.lease_is_over(now, self._clock()):
                    self.request_read(slot)

    def _now_in_redis(self) -> int:
        return int(self._clock() * 1e6 + self._ahead)

    async def _ask(self, pubsub: PubSub) -> None:
        while True:
            await asyncio.sleep(SILENCE_SECONDS)
            await check_primary(self._redis, pubsub)


def _known_digests(reads: list[PendingRead], now: int) -> tuple[list[tuple[Keys, str]], list[str]]:
    """Return the jobs to compare, and the digest by which each is known.

    Args:
        reads: of these jobs.
        now: by Redis's clock, in µs.
    """
    jobs = [(slot.calls.keys, slot.view.job_id) for slot, _, _ in reads]
    own = time.monotonic()
    # An overdue worker's job is read in full: whether it is stalled depends on the time as well.
    digests = ["" if slot.view.lease_is_over(now, own) else slot.digest for slot, _, _ in reads]
    return jobs, digests
