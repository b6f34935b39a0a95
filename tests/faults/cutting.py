"""Subscriptions, seen from Redis's side and cut off there."""

from __future__ import annotations

from typing import Any

import redis

from django_import_progress.service.base import calls_for, now_text

_CALLS = calls_for(redis.Redis(), "import_progress", 3600)


def subscriptions(client: redis.Redis) -> int:
    """Return how many connections have subscribed to anything."""
    return len(client.client_list(_type="pubsub"))


def cut_off_and_update(client: redis.Redis, job_id: str, **fields: Any) -> None:
    """Kill all subscriptions and update a job in one transaction: nobody can hear of it."""
    call = _CALLS.update(job_id, fields, now_text(), None)
    with client.pipeline() as transaction:
        transaction.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        transaction.execute_command(*call.with_text)
        _, reply = transaction.execute()
    call.parse(reply)
