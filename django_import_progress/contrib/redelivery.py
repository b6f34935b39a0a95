"""Decides which message may run an import if a broker delivers one again while the import runs.

Brokers deliver a message again if it was not acknowledged in time (Redis, SQS:
``visibility_timeout``; RabbitMQ: ``consumer_timeout``). With ``acks_late`` it is acknowledged when
the task has ended. A copy must not restart a healthy import, but it must not be lost either: it
continues the import if its worker dies. So it is sent again with a delay, until the import has
ended or its lease has expired.

One message at a time is responsible for a job. Each message that is sent again, by this module or
as a retry, takes over that responsibility. Its token is greater than that of the message before,
and is written to Redis after it was sent: if the process is killed in between, the older message
is still the responsible one. Messages older than the token in Redis do nothing, however often the
broker delivers them.
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
from .queue_status import log_error, log_errors

MESSAGE_HEADER = "progress_message"
"""Header with the token of a message that takes over the responsibility for its job."""
SEEN_HEADER = "progress_seen"
"""Header of a copy that was sent again: what it found the last time."""
ALIVE = "alive"
UNKNOWN = "unknown"

MOST_SECONDS = 30.0
"""Longest delay of a copy: a worker may die meanwhile."""
MARGIN_SECONDS = 0.5
"""A copy comes back this long after the lease expires."""

CLAIM_SECONDS = 10
"""So long no other copy continues a job: the one that does has its lease by then."""


class Action(enum.Enum):
    """What to do with a message."""

    RUN = enum.auto()
    DROP = enum.auto()
    """Ignore it: the import has ended, or another message is responsible for it."""
    WAIT = enum.auto()
    """Send it again later."""


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """A message that a worker has received."""

    is_redelivered: bool
    token: str | None
    seen: str | None

    @classmethod
    def of(cls, request: Any) -> Delivery:
        """Create it from a task's request."""
        headers: Mapping[str, Any] = request.headers or {}
        return cls(
            is_redelivered=bool((request.delivery_info or {}).get("redelivered")),
            token=headers.get(MESSAGE_HEADER),
            seen=headers.get(SEEN_HEADER),
        )

    @property
    def is_copy(self) -> bool:
        """Whether another delivery of this message may be running the import."""
        return self.is_redelivered or self.seen is not None


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """An action; for `WAIT`, also what was seen and for how long to wait."""

    action: Action
    seen: str = UNKNOWN
    seconds: float = MOST_SECONDS


def decide_and_claim(namespace: str | None, job_id: str, delivery: Delivery) -> Decision:
    """Decide what to do with a message; of several copies at once only one may run the import."""
    decision = decide(namespace, job_id, delivery)
    if decision.action is Action.RUN and delivery.is_copy and not _claim(namespace, job_id):
        return Decision(Action.WAIT, ALIVE, CLAIM_SECONDS + MARGIN_SECONDS)
    return decision


def _claim(namespace: str | None, job_id: str) -> bool:
    """Return whether no other copy has claimed the job lately. Without Redis each copy may run."""
    try:
        jobs = get_impatient_manager(namespace)
        command = ("SET", jobs.calls.keys.claim(job_id), "1", "NX", "EX", CLAIM_SECONDS)
        return perform_sync(jobs.redis, RedisCommand(command, bool))
    except ProgressError as error:
        log_error(job_id, error)
        return True


def decide(namespace: str | None, job_id: str, delivery: Delivery) -> Decision:
    """Decide what to do with a message. A first delivery is not looked up in Redis."""
    if not delivery.is_copy and delivery.token is None:
        return Decision(Action.RUN)
    try:
        jobs = get_impatient_manager(namespace)
        [stored] = jobs.read([job_id])
        token = _responsible_token(jobs, job_id, stored)
    except ProgressError as error:
        log_error(job_id, error)
        return _decide_unknown(delivery)
    return _decide(delivery, stored, token)


def _decide_unknown(delivery: Delivery) -> Decision:
    """Decide without Redis, or without the job: a copy is sent again once."""
    if delivery.is_copy and delivery.seen != UNKNOWN:
        return Decision(Action.WAIT)
    return Decision(Action.RUN)


def _decide(delivery: Delivery, stored: Stored | None, noted: str) -> Decision:
    if (delivery.token or "") < noted:
        return Decision(Action.DROP)
    if not delivery.is_copy:
        return Decision(Action.RUN)  # A retry.
    if stored is None:
        return _decide_unknown(delivery)
    if stored.deleted or (stored.ended and not _was_interrupted(stored)):
        return Decision(Action.DROP)
    if stored.ended or stored.lease <= stored.read_at:
        return Decision(Action.RUN)
    seconds = (stored.lease - stored.read_at) / 1e6 + MARGIN_SECONDS
    return Decision(Action.WAIT, ALIVE, min(seconds, MOST_SECONDS))


def _was_interrupted(stored: Stored) -> bool:
    """Return whether the import ended with its process, as at a cold shutdown, and may continue."""
    cancelled = stored.fields.get("status") == "cancelled"
    return cancelled and not stored.cancel_requested and not stored.expired


def next_headers(namespace: str | None, job_id: str, headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers of the message that follows the one with `headers`.

    After it was sent, `take_over` makes it responsible. If Redis is unavailable and the message
    before has no token, it has none either.
    """
    kept = {k: v for k, v in headers.items() if k not in {MESSAGE_HEADER, SEEN_HEADER}}
    last = headers.get(MESSAGE_HEADER, "")
    with log_errors(job_id):
        jobs = get_impatient_manager(namespace)
        [stored] = jobs.read([job_id])
        last = max(last, _responsible_token(jobs, job_id, stored) or f"{_prefix(stored)}0")
    if last:
        life, number, *_ = last.split(".")
        kept[MESSAGE_HEADER] = f"{life}.{int(number) + 1:09d}.{secrets.token_hex(4)}"
    return kept


def take_over(namespace: str | None, job_id: str, headers: Mapping[str, Any]) -> None:
    """Write to Redis that a message was sent that is responsible for the job from now on."""
    if token := headers.get(MESSAGE_HEADER):
        with log_errors(job_id):
            jobs = get_impatient_manager(namespace)
            args = [token, jobs.calls.queued_seconds]
            perform_sync(jobs.redis, evalsha(TAKE_OVER, [_key(jobs, job_id)], args, bool))


def _responsible_token(jobs: SyncProgressManager, job_id: str, stored: Stored | None) -> str:
    """Return the token of the responsible message; empty if this life of the job has none."""
    value = perform_sync(jobs.redis, RedisCommand(("GET", _key(jobs, job_id)), lambda reply: reply))
    token = as_text(value or b"")
    return token if token.startswith(_prefix(stored)) else ""


def _prefix(stored: Stored | None) -> str:
    """Return the prefix of the tokens of this life; those of a later life are greater."""
    return f"{0 if stored is None else stored.life:017d}."


def _key(jobs: SyncProgressManager, job_id: str) -> str:
    return jobs.calls.keys.message(job_id)
