"""Those who watch, each kind in its own way."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from redis import Redis

from django_import_progress import SyncProgressManager, create_sync_redis_client
from django_import_progress.access import make_ticket
from tests.kit import http
from tests.kit.wires import SocketWire

from .model import JobModel, has_ended
from .stream import Frame, frames_of, order_of, strict_json
from .watcher import ADDED, Watcher
from .world import World


class _InTheLoop(Watcher):
    """One who watches in a coroutine."""

    def __init__(self, world: World, job: JobModel, last_event_id: str = "") -> None:
        super().__init__(world, job)
        self._asked_with = last_event_id
        self._task = asyncio.run_coroutine_threadsafe(self._watch(), world.watching.loop)

    async def _watch(self) -> None:
        raise AssertionError

    @property
    def over(self) -> bool:
        if not self._task.done() or self._task.cancelled():
            return False
        self._task.result()
        return True

    def drop(self) -> None:
        self._task.cancel()


class AsyncWatcher(_InTheLoop):
    """Who uses the hub."""

    kind = "async"

    async def _watch(self) -> None:
        watcher = self.world.manager.watcher(self.job.job_id)
        try:
            while (state := await watcher.next()) is not None:
                self.last_event_id = state.event_id
                percent = state.representation["percent"]
                self._show(
                    dict(state.fields), order=state.order, percent=percent, is_gone=state.gone
                )
        finally:
            watcher.close()


class _Dropped(Exception):
    """The sync watcher was dropped."""


class _Droppable(Redis):
    dropped = False

    def pipeline(self, *args: Any, **options: Any) -> Any:
        if self.dropped:
            raise _Dropped  # pragma: no cover - here or there, whichever comes first
        return super().pipeline(*args, **options)

    def pubsub(self, **options: Any) -> Any:
        if self.dropped:
            raise _Dropped  # pragma: no cover - here or there, whichever comes first
        return super().pubsub(**options)  # type: ignore[no-untyped-call]


class SyncWatcher(Watcher):
    """Who iterates over `watch` in a thread."""

    kind = "sync"

    def __init__(self, world: World, job: JobModel, last_event_id: str = "") -> None:
        super().__init__(world, job)
        # Kept: one that is forgotten closes its pool.
        self._plain: Any = create_sync_redis_client(world.url)
        self._client = _Droppable(connection_pool=self._plain.connection_pool)
        self._manager = SyncProgressManager(self._client, heartbeat_seconds=world.heartbeat_seconds)
        self._ended = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._watch, name=f"watch-{job.job_id}")
        self._thread.start()

    def _watch(self) -> None:
        last: dict[str, Any] = {}
        try:
            for last in self._manager.watch(self.job.job_id):
                self._show(last, order=None)
            if not has_ended(last):  # pragma: no branch - it depends on the schedule
                self._show({}, order=None, is_gone=True)
            self._ended = True
        except _Dropped:
            pass
        except Exception as failure:  # pragma: no cover - of a failure
            self._failure = failure
        finally:
            self._plain.close()

    @property
    def over(self) -> bool:
        if self._failure is not None:
            raise AssertionError(self) from self._failure
        return self._ended

    def drop(self) -> None:
        self._client.dropped = True

    def close(self) -> None:
        self._thread.join()


def _may_end_with(job: JobModel, event_id: str) -> bool:
    """Tell whether what is stored now may be the end with this id."""
    numbers = [None if state is None else state["n"] for state in job.possible]
    return event_id in job.ends and (job.ends[event_id] in numbers or not job.is_sure)


class SseWatcher(_InTheLoop):
    """Who holds an event stream of the site open, by a ticket."""

    kind = "sse"

    def __init__(self, world: World, job: JobModel, last_event_id: str = "") -> None:
        self._is_of_the_end = _may_end_with(job, last_event_id)
        super().__init__(world, job, last_event_id)

    async def _watch(self) -> None:
        headers = {b"Last-Event-ID": self._asked_with.encode("latin-1")}
        url = f"{self.world.site.url}/progress/jobs/{make_ticket(self.job.job_id)}/stream/"
        async with (
            http.AsyncClient(timeout=30) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            self.refused = response.status_code == 204
            if self.refused:
                return
            assert response.status_code == 200, response
            assert response.headers["Content-Type"] == "text/event-stream"
            over = False
            async for frame in frames_of(response.aiter_raw()):
                assert not over, f"{frame} came after the end"
                over = self._take(frame)
            assert over, "the stream was closed before the end"

    def _take(self, frame: Frame) -> bool:
        if frame.event == "end":
            assert frame.data == "", frame
            return True
        values = strict_json(frame.data)
        self.last_event_id = frame.id
        if frame.event == "gone":
            assert values == {"job_id": self.job.job_id}, frame
            self._show({}, order=order_of(frame.id), is_gone=True)
            return True
        assert frame.event == "", frame
        if order_of(frame.id) is None:
            self.job.ends[frame.id] = values.get("n")
        assert values["job_id"] == self.job.job_id, frame
        fields = {name: value for name, value in values.items() if name not in ADDED}
        self._show(fields, order=order_of(frame.id), percent=values["percent"])
        return False

    def check(self) -> None:
        super().check()
        if self.over and self.refused:
            assert self._asked_with.startswith("end-"), f"refused with {self._asked_with!r}"
            assert self._is_of_the_end or self._was_absent(), f"{self}: {self._asked_with}"

    def check_that_its_end_is_known(self) -> None:
        """Check, at rest, that one who comes back with the id of an end is sent away."""
        stored, seen = self.job.stored, self.last
        if not self.over or seen is None or stored is None or not has_ended(stored):
            return
        if self.job.is_current(seen.fields):  # pragma: no branch - mostly it is
            path = f"/progress/jobs/{make_ticket(self.job.job_id)}/stream/"
            answer = self.world.get(path, **{"Last-Event-ID": self.last_event_id})
            assert answer is not None, self
            assert answer.status_code == 204, (self, answer)


class SocketWatcher(_InTheLoop):
    """Who holds a WebSocket of the site open, by a ticket."""

    kind = "websocket"

    async def _watch(self) -> None:
        ticket = make_ticket(self.job.job_id)
        async with await SocketWire.of(self.world.site.port, ticket) as wire:
            async for message in wire.connection:
                self._take(strict_json(message))
            assert wire.connection.close_code == 1000, wire.connection.close_code

    def _take(self, values: dict[str, Any]) -> None:
        assert values["job_id"] == self.job.job_id, values
        if "gone" in values:
            assert values == {"job_id": self.job.job_id, "gone": True}
            self._show({}, order=None, is_gone=True)
        else:
            fields = {name: value for name, value in values.items() if name not in ADDED}
            self._show(fields, order=None, percent=values["percent"])


KINDS: dict[str, type[AsyncWatcher | SyncWatcher | SseWatcher | SocketWatcher]] = {
    kind.kind: kind for kind in (AsyncWatcher, SyncWatcher, SseWatcher, SocketWatcher)
}
