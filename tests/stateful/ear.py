"""A foreign subscriber of all jobs: it keeps the real messages, so that they can be told again."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PATTERN = "import_progress:channel:*"
_OURS = re.compile(rb'"_v":\d+,"_db":0|^\{"_gone":\d+,"_db":0\}$')
"""Whole messages of ours: a partial one has no version, and published again, it is another one."""
PATIENCE_SECONDS = 0.5
"""How long an answer is waited for."""


def impatient_client(port: int, **options: Any) -> redis.Redis:
    """Return a client that tries once."""
    options["socket_timeout"] = PATIENCE_SECONDS
    return redis.Redis(port=port, retry=Retry(NoBackoff(), 0), **options)


class Ear:
    """Listens when it is asked, and goes through every outage."""

    NAME = "ear"

    def __init__(self, port: int) -> None:
        self._client = impatient_client(port, client_name=self.NAME)
        self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)
        self.heard: deque[tuple[str, bytes]] = deque(maxlen=100)
        """Channels and what was told on them."""

    def listen(self) -> None:
        """Take what has come."""
        try:
            if not self._pubsub.subscribed:
                self._pubsub.psubscribe(PATTERN)
            # One that answers None was a confirmation.
            while (message := self._pubsub.get_message()) is not None:
                if _OURS.search(message["data"]) is not None:
                    self.heard.append((message["channel"].decode(), message["data"]))
        except redis.RedisError:
            self._pubsub.close()

    def forget(self) -> None:
        """Know of nothing that was told before."""
        self.listen()
        self.heard.clear()

    def close(self) -> None:
        """Let go of the connection."""
        self._pubsub.close()
        self._client.close()
