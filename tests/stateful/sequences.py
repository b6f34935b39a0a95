"""Random sequences of steps of all who write to one job, performed before all kinds of watchers."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from hypothesis import strategies as st

from django_import_progress import (
    ProgressManager,
    SyncProgressManager,
    create_redis_client,
    create_sync_redis_client,
)
from tests.kit import waiting

from .observers import HubObserver, SlowObserver, SseObserver, SyncObserver, barrier
from .publishers import PUBLISHERS, Publishers
from .truth import Truth
from .wire import LoopThread

JUNK = [b"junk", b"", b"[1]", b"\xff", b'{"a":NaN}', b'{"_x":1}', b'{"_gone":"x"}', b'{"_l":1}']
JUNK += [b'{"a":1,"_m":[1,2,3]}', b'{"a":1,"_m":null}']
LONG_JUNK = [(b"x", 300_000), (b"[", 5000)]
"""What is repeated so many times."""
TEXTS = [b"products.csv", b"007", b"NaN", b"", b"[draft].csv", b"[007]", b"\xff", b'"x.csv"', b"12"]
TEXTS += [b'{"a":1}', b"12\n", b' "x"']
STATUSES = [b'"importing"', b"parsing", b'"done"', b"failed", b'"done"\n']
STAMPS = [None, 5, "9999-12-31T23:59:59+00:00", "1970-01-01T00:00:00+00:00", "soon"]
VERBS = ["set_progress"] * 3 + ["publish_update"] * 4 + ["update"] * 3
VERBS += ["create", "delete", "request_cancel"]

names = st.sampled_from([("a",), ("b",), ("a", "b"), ("c",), ()])
statuses = st.sampled_from([None, None, None, "importing", "importing", "queued", "done", "failed"])
KINDS: dict[str, st.SearchStrategy[tuple[Any, ...]]] = {
    "verb": st.tuples(st.sampled_from(PUBLISHERS), st.sampled_from(VERBS), names, statuses),
    "work": st.tuples(
        st.sampled_from(["begin", "advance", "advance", "end"]),
        st.integers(0, 2),
        st.booleans(),
        st.sampled_from([30, 0]),
    ),
    "publish": st.tuples(names, statuses, st.sampled_from(STAMPS)),
    "publish_junk": st.tuples(st.sampled_from(JUNK), st.just(1)) | st.sampled_from(LONG_JUNK),
    "hset": st.tuples(st.sampled_from(["a", "file"]), st.sampled_from(TEXTS))
    | st.tuples(st.just("status"), st.sampled_from(STATUSES)),
    "expire": st.tuples(st.sampled_from(["PEXPIRE", "DEL"])),
    "settle": st.tuples(),
}
WEIGHTS = ["verb"] * 9 + ["work"] * 3 + ["publish"] * 3
WEIGHTS += ["publish_junk", "hset", "expire", "settle", "settle"]
steps = st.sampled_from(WEIGHTS).flatmap(lambda kind: st.tuples(st.just(kind), KINDS[kind]))
lags = st.tuples(
    st.sampled_from([0, 1, 2, 99]), st.sampled_from(["wait", "send", "execute", "apply"])
)
"""What becomes of the slow watcher after a step: messages that come in, and its read."""
Steps = list[tuple[tuple[str, tuple[Any, ...]], tuple[int, Any]]]
SEQUENCES: st.SearchStrategy[Steps] = st.integers(5, 25).flatmap(
    lambda length: st.lists(st.tuples(steps, lags), min_size=length, max_size=length)
)


class Stage:
    """One server, publishers, and watchers with one heartbeat; to be used as a context manager."""

    def __init__(self, port: int, heartbeat_seconds: float) -> None:
        self._port = port
        self._heartbeat_seconds = heartbeat_seconds
        self.has_beats = heartbeat_seconds < 1
        self._stack = ExitStack()
        self._examples = itertools.count(1)
        self._barriers = itertools.count(1)
        self._changed = threading.Condition()

    def __enter__(self) -> Stage:
        enter = self._stack.enter_context
        self._loop = enter(LoopThread("watching"))
        self.publishers = enter(Publishers(self._port, self._loop))
        url, beat = f"redis://127.0.0.1:{self._port}/0", self._heartbeat_seconds
        self._sync = SyncProgressManager(create_sync_redis_client(url), heartbeat_seconds=beat)
        self._stack.callback(self._sync.redis.close)
        self._async = self._loop.run(self._manager(url, beat))
        self._stack.callback(lambda: self._loop.run(self._close()))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    async def _manager(self, url: str, beat: float) -> ProgressManager:
        manager = ProgressManager(create_redis_client(url), heartbeat_seconds=beat)
        manager.watcher("keeps-the-connection-open")
        return manager

    async def _close(self) -> None:
        await self._async.aclose()
        await self._async.redis.aclose()

    def perform(self, sequence: Steps) -> None:
        """Perform one sequence, and check what its watchers were shown last."""
        self._job_id = f"example-{next(self._examples)}"
        self.publishers.begin(self._job_id)
        self._truth = Truth()
        self._watchers: list[HubObserver | SyncObserver] = []
        self._slow = self._slow_one()
        try:
            self._open(self._kinds())
            for (what, arguments), lag in sequence:
                if what == "settle":
                    self._settle()
                else:
                    getattr(self.publishers, what)(*arguments)
                    self._note()
                    self._be_slow(*lag)
            self._settle()
        finally:
            self._close_all(self._watchers)

    def _slow_one(self) -> SlowObserver:
        def read() -> Any:
            return self.publishers.fresh.read([self._job_id])[0]

        return SlowObserver(self._job_id, len(self._truth.moments) - 1, read)

    def _kinds(self) -> list[Callable[[], HubObserver | SyncObserver]]:
        rest = (len(self._truth.moments) - 1, self._changed)
        return [
            lambda: HubObserver(self._async, self._job_id, self._loop, *rest),
            lambda: SseObserver(self._async, self._job_id, self._loop, *rest),
            lambda: SyncObserver(self._sync, self._job_id, *rest),
        ]

    def _open(self, kinds: list[Callable[[], HubObserver | SyncObserver]]) -> None:
        new = [kind() for kind in kinds]
        self._watchers += new
        self._wait(lambda: all(one.is_ready() or one.ended for one in new))

    def _note(self) -> None:
        payloads = self.publishers.heard()
        self._truth.note(self.publishers.moment(), payloads)
        self._slow.queue(payloads)

    def _be_slow(self, count: int, turn: Any) -> None:
        self._slow.hear(count)
        self._slow.turn(turn, heartbeat=self.has_beats)
        self._replace_the_slow_one()

    def _replace_the_slow_one(self) -> None:
        if self._slow.ended:
            self._truth.check(self._slow, has_beats=self.has_beats)
            self._slow = self._slow_one()

    def _settle(self) -> None:
        """Wait until all is quiet, check what was shown, and replace watchers that have ended."""
        if not self.has_beats:
            self.publishers.fresh.publish_update(self._job_id, {}, ensure_timestamp=False)
            self._note()
        self._slow.catch_up(beats=2 if self.has_beats else 0)
        self._truth.check(self._slow, has_beats=self.has_beats)
        self._replace_the_slow_one()
        payload = barrier(next(self._barriers))
        self.publishers.raw.publish(self.publishers.channel_of(self._job_id), payload)
        self._wait(lambda: all(one.is_quiet(payload) for one in self._watchers))
        if self.has_beats:
            self._wait(lambda: all(self._is_right(one) for one in self._watchers))
        for watcher in self._watchers:
            self._truth.check(watcher, has_beats=self.has_beats)
        ended = [watcher for watcher in self._watchers if watcher.ended]
        self._close_all(ended)
        kinds = dict(zip((HubObserver, SseObserver, SyncObserver), self._kinds(), strict=True))
        self._watchers = [watcher for watcher in self._watchers if not watcher.ended]
        self._open([kinds[type(watcher)] for watcher in ended])

    def _is_right(self, watcher: HubObserver | SyncObserver) -> bool:
        return self._truth.is_right(watcher, has_beats=True)

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(condition, waiting.PATIENCE_SECONDS)

    def _close_all(self, watchers: list[HubObserver | SyncObserver]) -> None:
        for watcher in watchers:
            if isinstance(watcher, SyncObserver):
                watcher.stop()
        channel = self.publishers.channel_of(self._job_id)
        self.publishers.raw.publish(channel, barrier(0))
        for watcher in watchers:
            watcher.close()
