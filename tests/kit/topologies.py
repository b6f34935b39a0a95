"""Several servers that act as one: a primary with a replica under Sentinel, and a Cluster."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any

import redis

from .processes import RedisProcess, free_port
from .waiting import FAULT_SECONDS, wait_for

SLOTS = 16384
SERVICE = "imports"


class _Group:
    """Processes that end together; to be used as a context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _started(self, process: RedisProcess) -> RedisProcess:
        self._stack.callback(process.close)
        return process.start()


def ask(process: RedisProcess, *command: Any) -> Any:
    """Send one command and return the answer."""
    with redis.Redis(port=process.port, decode_responses=True) as client:
        return client.execute_command(*command)


class _Sentinel(RedisProcess):
    """A sentinel. It keeps what it knows in its configuration file."""

    def __init__(self, binary: str, primary: RedisProcess, silence_milliseconds: int) -> None:
        super().__init__(binary)
        self._file = self.directory / "sentinel.conf"
        self._file.write_text(
            f"port {self.port}\n"
            "bind 127.0.0.1\n"
            f"dir {self.directory}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} {silence_milliseconds}\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )

    def command(self) -> list[str]:
        return [self.binary, str(self._file), "--sentinel"]


class SentinelGroup(_Group):
    """A primary, a replica, and one sentinel that decides alone.

    Args:
        binary: the server's program.
        silence_milliseconds: after so much of it the sentinel makes the replica the primary.
        stubborn: the primary does not let itself be demoted, as one that the sentinel's word does
            not reach.
    """

    def __init__(
        self, binary: str, *, silence_milliseconds: int = 500, stubborn: bool = False
    ) -> None:
        super().__init__()
        self._stubborn = stubborn
        renamed = [("--rename-command", name, "") for name in ("REPLICAOF", "SLAVEOF")]
        options = [word for option in renamed for word in option] if stubborn else []
        self.primary = self._started(RedisProcess(binary, *options))
        self.replica = self._started(RedisProcess(binary))
        self.replica.replicate(self.primary.port)
        self.sentinel = self._started(_Sentinel(binary, self.primary, silence_milliseconds))
        wait_for(lambda: self._replicas() == 1, "the sentinel to know the replica", FAULT_SECONDS)

    @property
    def url(self) -> str:
        """What to set `REDIS_URL` to."""
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{SERVICE}/0"

    def _replicas(self) -> int:
        return len(ask(self.sentinel, "SENTINEL", "REPLICAS", SERVICE))

    def replicates(self, key: str) -> None:
        """Wait until the replica has a key that was just written to the primary."""
        wait_for(lambda: ask(self.replica, "EXISTS", key), "the copy", FAULT_SECONDS)

    @property
    def named_port(self) -> int:
        """Whom the sentinel calls the primary."""
        return int(ask(self.sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def fail_over(self) -> None:
        """Have the sentinel make the replica the primary, though nothing is wrong."""
        self.replace_the_primary()
        wait_for(self._is_demoted, "the demotion", FAULT_SECONDS)

    def _is_demoted(self) -> bool:
        return self._stubborn or ask(self.primary, "ROLE")[0] == "slave"

    def replace_the_primary(self) -> None:
        """Have the sentinel make the replica the primary, whatever has become of the old one."""

        def is_accepted() -> bool:
            with suppress(redis.ResponseError):  # It does not know the replica well enough yet.
                return bool(ask(self.sentinel, "SENTINEL", "FAILOVER", SERVICE))
            return False  # pragma: no cover - mostly it does

        wait_for(is_accepted, "the sentinel to begin", FAULT_SECONDS)
        self.fails_over()

    def fails_over(self) -> None:
        """Wait until the sentinel has made the replica the primary."""
        wait_for(lambda: self.named_port == self.replica.port, "the fail-over", FAULT_SECONDS)


class ClusterGroup(_Group):
    """Three primaries that share the slots."""

    def __init__(self, binary: str) -> None:
        super().__init__()
        buses = [free_port() for _ in range(3)]
        self.nodes = [self._node(binary, bus) for bus in buses]
        self.ids = [str(ask(node, "CLUSTER", "MYID")) for node in self.nodes]
        share = SLOTS // len(self.nodes) + 1
        for number, node in enumerate(self.nodes):
            last = min((number + 1) * share, SLOTS) - 1
            ask(node, "CLUSTER", "ADDSLOTSRANGE", number * share, last)
            ask(node, "CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port, buses[0])
        for node in self.nodes:
            wait_for(
                lambda node=node: self._is_whole(node), "the Cluster to be whole", FAULT_SECONDS
            )

    @property
    def url(self) -> str:
        """What to set `REDIS_URL` to."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def sharded_url(self) -> str:
        """The same where each job is to be told by its own server alone."""
        return f"{self.url}?sharded_pubsub=yes"

    def emptied(self) -> ClusterGroup:
        """Remove all keys, and return the group."""
        for node in self.nodes:
            ask(node, "FLUSHALL")
        return self

    def own(self, slot: int, owner: int, *, but: int | None = None) -> None:
        """Have all servers, `but` one that is down, know that another one has a slot."""
        for node in self.nodes:
            if but is None or node is not self.nodes[but]:
                ask(node, "CLUSTER", "SETSLOT", slot, "NODE", self.ids[owner])

    def disown(self, slot: int) -> None:
        """Have nobody own a slot, and all servers know it."""
        owner = self.nodes[self.owner(slot)]
        for node in (owner, *self.nodes):
            with suppress(redis.ResponseError):  # It knows already.
                ask(node, "CLUSTER", "DELSLOTS", slot)

    def _node(self, binary: str, bus: int) -> RedisProcess:
        options = ["--cluster-enabled", "yes", "--cluster-port", str(bus)]
        options += ["--cluster-node-timeout", "15000", "--cluster-require-full-coverage", "no"]
        return self._started(RedisProcess(binary, *options))

    def _is_whole(self, node: RedisProcess) -> bool:
        info = str(ask(node, "CLUSTER", "INFO"))
        return "cluster_state:ok" in info and f"cluster_slots_ok:{SLOTS}" in info

    def slot(self, key: str) -> int:
        """Return the slot of a key."""
        return int(ask(self.nodes[0], "CLUSTER", "KEYSLOT", key))

    def owner(self, slot: int) -> int:
        """Return which node holds a slot."""
        for first, last, (_, port, *_), *_ in ask(self.nodes[0], "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return [node.port for node in self.nodes].index(port)
        raise AssertionError(f"nobody holds {slot}")

    def move(self, slot: int, to: int) -> None:
        """Move a slot, with what is in it, to another node."""
        source = self.owner(slot)
        ask(self.nodes[to], "CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[source])
        ask(self.nodes[source], "CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[to])
        while keys := ask(self.nodes[source], "CLUSTER", "GETKEYSINSLOT", slot, 100):
            with suppress(redis.ResponseError):  # It expired on the way.
                ask(self.nodes[source], "MIGRATE", "127.0.0.1", self.nodes[to].port, "", 0, 5000,
                    "KEYS", *keys)  # fmt: skip
        for node in (self.nodes[to], self.nodes[source], *self.nodes):
            ask(node, "CLUSTER", "SETSLOT", slot, "NODE", self.ids[to])
