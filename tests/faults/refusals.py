"""Ways in which a server answers and refuses to serve, begun and ended at will."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis

from tests.kit.processes import RedisProcess, free_port, valkey_binary
from tests.kit.waiting import wait_for

ENOUGH = 3
"""So many refusals are more than one try."""
_ALL = ("on", "nopass", "resetkeys", "~*", "resetchannels", "&*", "+@all")
_OPTIONS = ("--enable-debug-command", "yes", "--rdbcompression", "no")
_OFTEN = ("--loading-process-events-interval-bytes", "1024")
_LAST_SLOT = 16383


class RefusingServer(RedisProcess):
    """A server whose clients log in as `app`, who may do everything at first."""

    def __init__(self, refusal: Refusal) -> None:
        options = [*_OPTIONS, *_OFTEN]
        if refusal.scheme == "redis+cluster":
            options += ["--cluster-enabled", "yes", "--cluster-node-timeout", "500"]
            options += ["--cluster-port", str(free_port())]
        super().__init__(valkey_binary(), *options)
        self.url = f"{refusal.scheme}://app:any@127.0.0.1:{self.port}"
        self._refusal = refusal
        self._is_refusing = False

    def __enter__(self) -> RefusingServer:
        return self.start()

    def start(self) -> RefusingServer:
        """Start it as one that serves."""
        super().start()
        self.do("ACL", "SETUSER", "app", *_ALL)
        self._refusal.prepare(self)
        return self

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse to serve meanwhile."""
        self._refusal.begin(self)
        try:
            yield
        finally:
            self._refusal.end(self)

    def refused(self) -> int:
        """Return how often it has refused so far."""
        with redis.Redis(port=self.port) as client:
            errors: Any = client.info("errorstats")
        count: int = errors.get(f"errorstat_{self._refusal.code}", {"count": 0})["count"]
        return count

    def wait_for_refusals(self) -> None:
        """Wait until clients have tried more than once in vain."""
        enough = self.refused() + ENOUGH * self._refusal.tries
        wait_for(lambda: self.refused() >= enough, "refusals")


def _nothing(_: RefusingServer) -> None:
    """It needs no preparation."""


@dataclass(frozen=True)
class Refusal:
    """What begins it, and what ends it."""

    code: str
    """The first word of the answer."""
    begin: Callable[[RefusingServer], None]
    end: Callable[[RefusingServer], None]
    prepare: Callable[[RefusingServer], None] = _nothing
    scheme: str = "redis"
    tries: int = 1
    """More where redis-py asks again by itself."""


def _config(name: str, value: str | int) -> Callable[[RefusingServer], None]:
    return lambda server: (server.do("CONFIG", "SET", name, value), None)[1]


def _rights(*rules: str) -> Callable[[RefusingServer], None]:
    return lambda server: (server.do("ACL", "SETUSER", "app", *rules), None)[1]


def _follow_nobody(server: RefusingServer) -> None:
    server.do("REPLICAOF", "127.0.0.1", 1)


def _fill(server: RefusingServer) -> None:
    server.do("DEBUG", "POPULATE", 1000, "filler", 1100)


def _reload_slowly(server: RefusingServer) -> None:
    server.do("CONFIG", "SET", "key-load-delay", 20_000)
    threading.Thread(target=server.do, args=("DEBUG", "RELOAD")).start()

    def is_loading() -> bool:
        with redis.Redis(port=server.port) as client:
            return bool(client.info("persistence")["loading"])

    wait_for(is_loading, "the server to load its data")


def _reload_fast(server: RefusingServer) -> None:
    server.do("CONFIG", "SET", "key-load-delay", 0)
    wait_for(server._answers, "the server to have loaded its data")


def _has_slots(server: RefusingServer) -> bool:
    return "cluster_state:ok" in str(server.do("CLUSTER", "INFO"))


def _take_slots(server: RefusingServer) -> None:
    server.do("CLUSTER", "ADDSLOTSRANGE", 0, _LAST_SLOT)
    wait_for(lambda: _has_slots(server), "the Cluster to serve")


def _take_the_last_slot(server: RefusingServer) -> None:
    server.do("CLUSTER", "ADDSLOTS", _LAST_SLOT)
    wait_for(lambda: _has_slots(server), "the Cluster to serve")


def _drop_a_slot(server: RefusingServer) -> None:
    server.do("CLUSTER", "DELSLOTS", _LAST_SLOT)
    wait_for(lambda: not _has_slots(server), "the Cluster to refuse")


FULL = Refusal("OOM", _config("maxmemory", 1), _config("maxmemory", 0))
DEMOTED = Refusal("READONLY", _follow_nobody, RedisProcess.promote)
LOADING = Refusal("LOADING", _reload_slowly, _reload_fast, prepare=_fill)
NO_SCRIPTS = Refusal("NOPERM", _rights("-evalsha", "-eval"), _rights(*_ALL))
NO_CHANNELS = Refusal("NOPERM", _rights("resetchannels"), _rights(*_ALL))
NO_KEYS = Refusal("NOPERM", _rights("resetkeys", "~other:*"), _rights(*_ALL))
CUT_OFF = Refusal(
    "MASTERDOWN",
    _follow_nobody,
    RedisProcess.promote,
    prepare=_config("replica-serve-stale-data", "no"),
)
NOT_COVERED = Refusal(
    "CLUSTERDOWN",
    _drop_a_slot,
    _take_the_last_slot,
    prepare=_take_slots,
    scheme="redis+cluster",
    tries=2,
)

OF_WRITES = {
    "full": FULL,
    "demoted": DEMOTED,
    "loading": LOADING,
    "no-scripts": NO_SCRIPTS,
    "no-channels": NO_CHANNELS,
    "no-keys": NO_KEYS,
    "cut-off": CUT_OFF,
    "not-covered": NOT_COVERED,
}
"""All of them: who writes is refused by each."""
OF_READS = {
    name: refusal
    for name, refusal in OF_WRITES.items()
    if refusal in (LOADING, NO_KEYS, CUT_OFF, NOT_COVERED)
}
"""Those that refuse to read as well."""
