"""Which message may run an import, where a broker delivers one again while the import runs.

Brokers deliver a message again if it was not acknowledged in time (Redis, SQS:
``visibility_timeout``; RabbitMQ: ``consumer_timeout``), and with ``acks_late`` it is acknowledged
when the task has ended. A copy must neither start a healthy import again, nor be lost, for it is
what continues the import if its worker dies. So it is sent again with a delay, until the import has
ended or its lease has expired.

One message at a time is responsible for a job: each that is sent again, by this module or as a
retry, takes that over. Its token is greater than that of the message before, and is noted in Redis
once it was sent: a process may be killed in between, and then the older message is still the one
that counts. Messages older than the noted one do nothing, however often the broker delivers them.
"""

from __future__ import annotations

import dataclasses
import enum
import secrets
from collections.abc import Mapping
from typing import Any

from ..core.command import RedisCommand, evalsha
from ..core.errors import ProgressError
from ..core.lua.scripts import TAKE_OVER
from ..core.snapshot import Stored, as_text
from ..redis.executor import perform_sync
from ..service.registry import get_impatient_manager
from ..service.sync_manager import SyncProgressManager
from .queue_status import or_warn, warn

MESSAGE_HEADER = "progress_message"
"""Of a message that takes over the responsibility for its job: its token."""
SEEN_HEADER = "progress_seen"
"""Of a copy that comes back: what it found the last time."""
ALIVE = "alive"
UNKNOWN = "unknown"

MOST_SECONDS = 30.0
"""How long a copy stays away at most: a worker may die meanwhile."""
MARGIN_SECONDS = 0.5
"""A copy comes back so long after the lease."""


class Verdict(enum.Enum):
    """What a message is to do."""

    RUN = enum.auto()
    DROP = enum.auto()
    """Nothing: the import has ended, or another message is responsible for it."""
    WAIT = enum.auto()
    """Come back later."""


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """What is known of a message that a worker has taken."""

    is_redelivered: bool
    token: str | None
    seen: str | None

    @classmethod
    def of(cls, request: Any) -> Delivery:
        """Read it from the task's request."""
        headers: Mapping[str, Any] = request.headers or {}
        return cls(
            is_redelivered=bool((request.delivery_info or {}).get("redelivered")),
            token=headers.get(MESSAGE_HEADER),
            seen=headers.get(SEEN_HEADER),
        )

    @property
    def is_copy(self) -> bool:
        """Whether the import may be running."""
        return self.is_redelivered or self.seen is not None


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict; if the message is to wait, why and for how long."""

    verdict: Verdict
    seen: str = UNKNOWN
    seconds: float = MOST_SECONDS


def judge(namespace: str | None, job_id: str, delivery: Delivery) -> Judgement:
    """Decide what a message is to do. Redis is only asked about those that came more than once."""
    if not delivery.is_copy and delivery.token is None:
        return Judgement(Verdict.RUN)
    try:
        jobs = get_impatient_manager(namespace)
        [stored] = jobs.read([job_id])
        token = _noted(jobs, job_id, stored)
    except ProgressError as error:
        warn(job_id, error)
        return _judge_unknown(delivery)
    return _judge(delivery, stored, token)


def _judge_unknown(delivery: Delivery) -> Judgement:
    """Decide without Redis, or without the job: a copy comes back once to ask again."""
    if delivery.is_copy and delivery.seen != UNKNOWN:
        return Judgement(Verdict.WAIT)
    return Judgement(Verdict.RUN)


def _judge(delivery: Delivery, stored: Stored | None, noted: str) -> Judgement:
    if (delivery.token or "") < noted:
        return Judgement(Verdict.DROP)
    if not delivery.is_copy:
        return Judgement(Verdict.RUN)  # A retry.
    if stored is None:
        return _judge_unknown(delivery)
    if stored.deleted or (stored.ended and not _was_interrupted(stored)):
        return Judgement(Verdict.DROP)
    if stored.ended or stored.lease <= stored.read_at:
        return Judgement(Verdict.RUN)
    seconds = (stored.lease - stored.read_at) / 1e6 + MARGIN_SECONDS
    return Judgement(Verdict.WAIT, ALIVE, min(seconds, MOST_SECONDS))


def _was_interrupted(stored: Stored) -> bool:
    """Tell whether the import ended with its process, as at a cold shutdown, and may go on."""
    cancelled = stored.fields.get("status") == "cancelled"
    return cancelled and not stored.cancel_requested and not stored.expired


def following(namespace: str | None, job_id: str, headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers of a message that is to follow the one with `headers`.

    `take_over` makes it responsible, once it was sent. If Redis is away, and the message before has
    no token, it has none either, like any other.
    """
    kept = {k: v for k, v in headers.items() if k not in {MESSAGE_HEADER, SEEN_HEADER}}
    last = headers.get(MESSAGE_HEADER, "")
    with or_warn(job_id):
        jobs = get_impatient_manager(namespace)
        [stored] = jobs.read([job_id])
        last = max(last, _noted(jobs, job_id, stored) or f"{_prefix(stored)}0")
    if last:
        life, number, *_ = last.split(".")
        kept[MESSAGE_HEADER] = f"{life}.{int(number) + 1:09d}.{secrets.token_hex(4)}"
    return kept


def take_over(namespace: str | None, job_id: str, headers: Mapping[str, Any]) -> None:
    """Note that a message was sent which is responsible for the job from now on."""
    if token := headers.get(MESSAGE_HEADER):
        with or_warn(job_id):
            jobs = get_impatient_manager(namespace)
            args = [token, jobs.calls.queued_seconds]
            perform_sync(jobs.redis, evalsha(TAKE_OVER, [_key(jobs, job_id)], args, bool))


def _noted(jobs: SyncProgressManager, job_id: str, stored: Stored | None) -> str:
    """Return the token of the responsible message; empty if there is none in this life."""
    value = perform_sync(jobs.redis, RedisCommand(("GET", _key(jobs, job_id)), lambda reply: reply))
    token = as_text(value or b"")
    return token if token.startswith(_prefix(stored)) else ""


def _prefix(stored: Stored | None) -> str:
    """Return how the tokens of this life begin: those of a later life are greater."""
    return f"{0 if stored is None else stored.life:017d}."


def _key(jobs: SyncProgressManager, job_id: str) -> str:
    return jobs.calls.keys.message(job_id)
