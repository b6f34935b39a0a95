"""A plain redis-py subscriber, as a foreign program would be: what it hears of one channel."""

from __future__ import annotations

import json
from typing import Any

import redis

from .waiting import wait_for

_FENCE = b"that was all"


class Ear:
    """Subscribed, and confirmed, from the start; to be used as a context manager."""

    def __init__(self, client: redis.Redis, job_id: object, namespace: str = "import_progress"):
        self._client = client
        self._channel = f"{namespace}:channel:{job_id}"
        self._pubsub = client.pubsub()
        self._pubsub.subscribe(self._channel)
        assert self._message()["type"] == "subscribe"

    def __enter__(self) -> Ear:
        return self

    def __exit__(self, *_: object) -> None:
        self._pubsub.close()

    def _message(self) -> dict[str, Any]:
        return wait_for(lambda: self._pubsub.get_message(timeout=0.1), "a message")

    def texts(self) -> list[bytes]:
        """Return all that was published up to now."""
        self._client.publish(self._channel, _FENCE)
        heard = []
        while (data := self._message()["data"]) != _FENCE:
            heard.append(data)
        return heard

    def heard(self) -> list[dict[str, Any]]:
        """Return the same as parsed JSON, without bookkeeping."""
        return [
            {name: value for name, value in json.loads(text).items() if not name.startswith("_")}
            for text in self.texts()
        ]
