"""All who write to one job, publish on its channel, or tamper with its hash, step by step."""

from __future__ import annotations

import itertools
import json
import secrets
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
import redis

from django_import_progress import (
    JobExists,
    JobFinished,
    JobNotFound,
    ProgressManager,
    SyncProgressManager,
    create_redis_client,
    create_sync_redis_client,
)
from django_import_progress.core.command import RedisCommand
from django_import_progress.core.lease import Attempt, Lease, WriteResult
from django_import_progress.core.snapshot import Fields, as_text, loads
from django_import_progress.redis.executor import perform_sync
from django_import_progress.service import manager as managers
from django_import_progress.service.base import now_text
from tests.kit.waiting import wait_for

from .truth import ABSENT, Moment
from .watcher import ADDED
from .wire import LoopThread

T = TypeVar("T")
SKEWS = {"behind": -40, "ahead": 60}
"""Managers whose clock is wrong by so many seconds."""
PUBLISHERS = ("sync", "async", "fresh", *SKEWS, "earlier", "other")


class EarlierRelease(SyncProgressManager):
    """Publishes as an earlier release: without database, owner and marks."""

    def __init__(self, redis: Any) -> None:
        super().__init__(redis)
        self._manager._perform = self._perform_earlier  # type: ignore[method-assign,assignment]

    async def _perform_earlier(self, call: RedisCommand[T]) -> T:
        assert call.script is not None
        text = call.script.text.replace(""" .. ',"_db":' .. database""", "")
        text = text.replace("if values['_o'] then ours", "if false then ours")
        assert text != call.script.text
        return call.parse(self.redis.execute_command("EVAL", text, *call.command[2:]))

    def publish_update(self, job_id: Any, data: Any, ensure_timestamp: bool = True) -> int:
        """See `SyncProgressManager.publish_update`."""
        assert ensure_timestamp
        message = json.dumps({"updated_at": now_text(), **data})
        return int(self.redis.execute_command("PUBLISH", self.calls.keys.channel(job_id), message))


class Publishers:
    """Managers and other programs on one server; to be used as a context manager.

    Each method is one step for the job that `begin` has named.
    """

    def __init__(self, port: int, loop: LoopThread) -> None:
        self.raw = redis.Redis(port=port)
        self._loop = loop
        self._stack = ExitStack()
        self._numbers = itertools.count(1)
        self.job_id = ""
        self._url = f"redis://127.0.0.1:{port}"

    def __enter__(self) -> Publishers:
        self._client = create_sync_redis_client(f"{self._url}/0")
        other = create_sync_redis_client(f"{self._url}/1")
        for client in (self.raw, self._client, other):
            self._stack.callback(client.close)
        self.sync = SyncProgressManager(self._client)
        self._managers = {
            "sync": self.sync,
            **{name: SyncProgressManager(self._client) for name in SKEWS},
            "earlier": EarlierRelease(self._client),
            "other": SyncProgressManager(other),
        }
        self._async = self._loop.run(self._async_manager())
        self._stack.callback(lambda: self._loop.run(self._async.redis.aclose()))
        self._pubsub = self.raw.pubsub(ignore_subscribe_messages=True)
        self._stack.callback(self._pubsub.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    async def _async_manager(self) -> ProgressManager:
        return ProgressManager(create_redis_client(f"{self._url}/0"))

    @property
    def fresh(self) -> SyncProgressManager:
        """A manager that remembers nothing."""
        return SyncProgressManager(self._client)

    def begin(self, job_id: str) -> None:
        """Turn to another job."""
        self.raw.flushall()
        self._pubsub.unsubscribe()
        self.job_id = job_id
        self._key, self._channel = f"import_progress:hash:{job_id}", self.channel_of(job_id)
        self._pubsub.subscribe(self._channel)
        self._attempts: list[Attempt] = []
        self._writes = itertools.count(1)
        self._is_deleted = False
        self.heard()

    @staticmethod
    def channel_of(job_id: str) -> str:
        """Return the name of a job's channel."""
        return f"import_progress:channel:{job_id}"

    def heard(self) -> list[bytes]:
        """Return all that was published since the last time."""
        fence = secrets.token_bytes(8)
        self._pubsub.ping(fence)
        payloads: list[bytes] = []
        while (message := self._pubsub.get_message(timeout=5)) is None or message["data"] != fence:
            if message is not None:
                payloads.append(message["data"])
        return payloads

    def moment(self) -> Moment:
        """Read what is stored, as it stands in Redis."""
        found: dict[Any, Any] = self.raw.hgetall(self._key)
        values = {as_text(name): _value(text) for name, text in found.items()}
        if "_v" in values:
            self._is_deleted = False
        if values:
            return Moment(
                written=(values.get("_l", 0), values.get("_v", 0)),
                fields={name: value for name, value in values.items() if name[0] != "_"},
            )
        if self._is_deleted:
            return Moment(written=ABSENT, fields=None, is_deleted=True)
        outcome = self.fresh.describe(self.job_id)
        if outcome is not None:
            outcome = {name: outcome[name] for name in outcome if name not in ADDED}
        return Moment(written=ABSENT, fields=None, outcome=outcome)

    # Steps

    def verb(self, by: str, verb: str, names: tuple[str, ...], status: str | None) -> None:
        """Call a method of a manager."""
        data = self._data(names, status)
        options: dict[str, Any] = {
            "create": {"owner": 7, "data": data},
            "delete": {},
            "request_cancel": {},
        }.get(verb, {"data": data})
        with suppress(JobNotFound, JobFinished, JobExists), pytest.MonkeyPatch.context() as patch:
            if by in SKEWS:
                moment = datetime.now(UTC) + timedelta(seconds=SKEWS[by])
                patch.setattr(managers, "now_text", moment.isoformat)
            if by == "async":
                done = self._loop.run(getattr(self._async, verb)(self.job_id, **options))
            else:
                manager = self._managers.get(by) or self.fresh
                done = getattr(manager, verb)(self.job_id, **options)
            if verb == "delete" and done and by != "other":
                self._is_deleted = True

    def work(self, verb: str, index: int, anew: bool, seconds: float) -> None:
        """Do what the tracker of a worker does. One that does nothing more was killed."""
        calls, now = self.sync.calls, now_text()
        if verb == "begin" or not self._attempts:
            lease = Lease(secrets.token_hex(4), seconds)
            fields = self._data(("a",), "importing")
            self._attempts.append(self._perform(calls.begin(self.job_id, "7", lease, fields, now)))
            return
        attempt = self._attempts[index % len(self._attempts)]
        fields = self._data(("a", "b"), "done" if verb == "end" else "importing")
        number = next(self._writes)
        call = calls.write(self.job_id, attempt, fields, now, number=number, may_create=anew)
        told = self._perform(call)
        if self._is_deleted and told in {WriteResult.CONTINUE, WriteResult.CANCEL}:
            raise AssertionError("the worker of a deleted job has created it again")

    def _perform(self, call: RedisCommand[T]) -> T:
        return perform_sync(self.sync.redis, call)

    def publish(self, names: tuple[str, ...], status: str | None, stamp: Any) -> None:
        """Publish a partial message as another program does."""
        data = self._data(names, status)
        if stamp is not None:
            data["updated_at"] = stamp
        self.raw.publish(self._channel, json.dumps(data))

    def publish_junk(self, payload: bytes, times: int) -> None:
        """Publish what no watcher can show."""
        self.raw.publish(self._channel, payload * times)

    def hset(self, name: str, text: bytes) -> None:
        """Write into the hash as another program does."""
        self.raw.hset(self._key, name, text)

    def expire(self, how: str) -> None:
        """Have the hash go without a word."""
        if how == "DEL":
            self.raw.delete(self._key)
        else:
            self.raw.pexpire(self._key, 1)
            wait_for(lambda: not self.raw.exists(self._key), "the hash to expire")

    def _data(self, names: tuple[str, ...], status: str | None) -> Fields:
        """Return fields whose values no other step has written."""
        number = next(self._numbers)
        data: Fields = dict.fromkeys(names, number)
        return data if status is None else {**data, "status": status}


def _value(text: bytes) -> Any:
    try:
        return loads(text)
    except ValueError:
        return as_text(text)
