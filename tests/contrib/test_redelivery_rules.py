"""Decisions on messages that may have been delivered before, without a worker."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import signals
from celery.app.task import Context
from celery.exceptions import Ignore, Reject
from kombu import Connection

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.contrib import celery, redelivery
from django_import_progress.contrib.redelivery import (
    ALIVE,
    MESSAGE_HEADER,
    SEEN_HEADER,
    UNKNOWN,
    Action,
    Delivery,
    decide,
    decide_and_claim,
    next_headers,
    take_over,
)

from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.tracked import JOB, state
from ..site import tasks

__all__ = ["defence"]

COPY = Delivery(is_redelivered=True, token=None, seen=None)
COPY_THAT_CAME_BACK = Delivery(is_redelivered=False, token=None, seen=UNKNOWN)


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Make tasks write to the test's server."""


def action(delivery: Delivery) -> Action:
    """Return the action for a message of the job."""
    return decide(None, JOB, delivery).action


def _sent(headers: dict[str, str] | None = None) -> str:
    """Send a message that follows another one; return its token."""
    following_it = next_headers(None, JOB, headers or {})
    take_over(None, JOB, following_it)
    return str(following_it[MESSAGE_HEADER])


def test_of_a_message_that_comes_for_the_first_time_redis_is_not_asked(settings: Any) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    assert action(Delivery(is_redelivered=False, token=None, seen=None)) is Action.RUN


def test_a_copy_waits_for_the_lease_of_a_living_attempt() -> None:
    with track_import(JOB):
        decision = decide(None, JOB, COPY)
    assert (decision.action, decision.seen) == (Action.WAIT, ALIVE)
    assert 20 < decision.seconds <= 30


@pytest.mark.parametrize("status", ["done", "failed"])
def test_a_copy_of_an_import_that_has_ended_does_nothing(
    jobs: SyncProgressManager, status: str
) -> None:
    jobs.create(JOB, data={"status": status})
    assert action(COPY) is Action.DROP


def test_a_copy_for_a_deleted_import_does_nothing(jobs: SyncProgressManager) -> None:
    jobs.create(JOB)
    jobs.delete(JOB)
    assert action(COPY) is Action.DROP


def test_a_copy_runs_a_queued_or_untracked_job(jobs: SyncProgressManager) -> None:
    jobs.create(JOB)
    assert action(COPY) is Action.RUN
    jobs.update(JOB, {"status": "importing"})
    assert action(COPY) is Action.RUN


def test_a_copy_continues_an_import_that_ended_with_its_process(jobs: SyncProgressManager) -> None:
    with pytest.raises(SystemExit), track_import(JOB):
        raise SystemExit
    assert action(COPY) is Action.RUN
    jobs.set_progress(JOB, {"status": "importing"})
    jobs.request_cancel(JOB)
    jobs.update(JOB, {"status": "cancelled"})
    assert action(COPY) is Action.DROP


def claims_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redelivery, "_claim", lambda *_: True)


@without(claims_nothing)
def test_of_two_copies_at_once_one_continues_the_import(jobs: SyncProgressManager) -> None:
    jobs.create(JOB)
    decisions = [decide_and_claim(None, JOB, COPY) for _ in range(2)]
    assert [one.action for one in decisions] == [Action.RUN, Action.WAIT]
    assert decisions[1].seconds > redelivery.CLAIM_SECONDS
    jobs.redis.delete(jobs.calls.keys.claim(JOB))  # As it expires.
    assert decide_and_claim(None, JOB, COPY).action is Action.RUN


def test_without_redis_each_copy_may_continue_the_import(settings: Any) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    for _ in range(2):
        assert decide_and_claim(None, JOB, COPY_THAT_CAME_BACK).action is Action.RUN


def test_a_first_delivery_claims_nothing(jobs: SyncProgressManager) -> None:
    first = Delivery(is_redelivered=False, token=None, seen=None)
    assert decide_and_claim(None, JOB, first).action is Action.RUN
    assert not jobs.redis.exists(jobs.calls.keys.claim(JOB))


def test_a_copy_for_an_unknown_job_is_sent_again_once() -> None:
    decision = decide(None, JOB, COPY)
    assert (decision.action, decision.seen) == (Action.WAIT, UNKNOWN)
    assert action(COPY_THAT_CAME_BACK) is Action.RUN


def test_a_copy_is_sent_again_once_while_redis_is_unavailable(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    assert decide(None, JOB, COPY).action is Action.WAIT
    assert action(COPY_THAT_CAME_BACK) is Action.RUN
    assert action(Delivery(is_redelivered=False, token="retry", seen=None)) is Action.RUN
    assert next_headers(None, JOB, {"own": 1, SEEN_HEADER: ALIVE}) == {"own": 1}
    take_over(None, JOB, {"own": 1})
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_only_the_newest_message_is_responsible(jobs: SyncProgressManager) -> None:
    jobs.create(JOB)
    tokens = [_sent() for _ in range(2)]
    older, newest = (Delivery(is_redelivered=False, token=token, seen=ALIVE) for token in tokens)
    assert [action(each) for each in (COPY, older, newest)] == [
        *(Action.DROP, Action.DROP, Action.RUN)
    ]
    retry = Delivery(is_redelivered=False, token=tokens[1], seen=None)
    with track_import(JOB):  # It asks for the retry, and is about to leave.
        assert (action(retry), action(newest)) == (Action.RUN, Action.WAIT)


def test_a_message_of_an_earlier_life_is_not(jobs: SyncProgressManager) -> None:
    jobs.create(JOB)
    old = Delivery(is_redelivered=False, token=_sent(), seen=ALIVE)
    jobs.delete(JOB)
    jobs.create(JOB)
    assert action(COPY) is Action.RUN
    _sent()
    assert action(old) is Action.DROP


def notes_the_token_before_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a message responsible before it is sent."""

    def note(namespace: str | None, job_id: str, headers: Any) -> dict[str, Any]:
        made = next_headers(namespace, job_id, headers)
        take_over(namespace, job_id, made)
        return made

    monkeypatch.setattr(celery, "next_headers", note)


def test_tokens_that_are_not_noted_yet_exclude_no_message(
    jobs: SyncProgressManager,
) -> None:
    jobs.create(JOB)
    last = Delivery(is_redelivered=False, token=_sent(), seen=ALIVE)
    both = [next_headers(None, JOB, {MESSAGE_HEADER: last.token}) for _ in range(2)]
    twins = [Delivery(is_redelivered=False, token=h[MESSAGE_HEADER], seen=ALIVE) for h in both]
    # Their process was killed before, or after, they were sent.
    assert {action(each) for each in (last, *twins)} == {Action.RUN}
    for headers in both:
        take_over(None, JOB, headers)
    assert action(last) is Action.DROP
    assert {action(each) for each in twins} == {Action.RUN, Action.DROP}


def test_while_redis_is_unavailable_a_message_follows_the_one_before(
    jobs: SyncProgressManager, settings: Any
) -> None:
    jobs.create(JOB)
    last = _sent()
    configured = settings.IMPORT_PROGRESS
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    headers = next_headers(None, JOB, {MESSAGE_HEADER: last})
    take_over(None, JOB, headers)
    settings.IMPORT_PROGRESS = configured
    again = Delivery(is_redelivered=False, token=headers[MESSAGE_HEADER], seen=ALIVE)
    assert action(again) is Action.RUN


@contextmanager
def _delivered_again(task: Any) -> Iterator[None]:
    """Make the task's request that of a message that is delivered again."""
    information = {"redelivered": True, "exchange": "", "routing_key": "copies"}
    task.push_request(
        id=JOB,
        args=[],
        kwargs={},
        called_directly=False,
        retries=2,
        expires="2020-01-01T00:00:00",
        headers={"own": "header"},
        delivery_info=information,
    )
    try:
        yield
    finally:
        task.pop_request()


def test_a_copy_is_sent_again_as_the_same_try_without_an_expiry(jobs: SyncProgressManager) -> None:
    with track_import(JOB), _delivered_again(tasks.import_rows):
        before = state(jobs)
        with pytest.raises(Ignore, match="sent again with a delay"):
            tasks.import_rows()
        assert state(jobs)["attempt"] == before["attempt"] == 1
    with Connection("memory://") as connection, connection.SimpleQueue("copies") as queue:
        message = queue.get_nowait()
    assert message.headers["id"] == JOB
    assert message.headers["retries"] == 2
    assert message.headers["expires"] is None
    assert message.headers["eta"] is not None
    assert message.headers[SEEN_HEADER] == ALIVE
    assert message.headers["own"] == "header"


@without(notes_the_token_before_sending)
def test_one_that_cannot_be_sent_again_goes_back_to_the_broker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks.app.amqp, "send_task_message", _refuse)
    with track_import(JOB), _delivered_again(tasks.import_rows):
        with pytest.raises(Reject) as raised:
            tasks.import_rows()
        assert raised.value.requeue
        assert action(COPY) is Action.WAIT


@without(notes_the_token_before_sending)
def test_a_retry_that_cannot_be_sent_leaves_the_import_to_the_message_before(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.create(JOB)
    monkeypatch.setattr(tasks.app.amqp, "send_task_message", _refuse)
    with pytest.raises(ConnectionError):
        tasks.import_rows.apply_async(task_id=JOB, retries=1)
    assert action(COPY) is Action.RUN


def _refuse(*_: Any, **__: Any) -> None:
    raise ConnectionError


def test_one_that_has_nothing_to_do_does_nothing(jobs: SyncProgressManager) -> None:
    jobs.create(JOB, data={"status": "done"})
    with _delivered_again(tasks.import_rows), pytest.raises(Ignore, match="has ended"):
        tasks.import_rows()
    assert "attempt" not in state(jobs)


@pytest.mark.parametrize("expired", [False, True])
def test_a_copy_that_is_revoked_or_has_expired_ends_no_import_that_runs(
    jobs: SyncProgressManager, expired: bool
) -> None:
    with track_import(JOB):
        signals.task_revoked.send(
            sender=tasks.import_rows, request=Context(id=JOB), terminated=False, expired=expired
        )
        assert state(jobs)["status"] == "importing"
        signals.task_revoked.send(
            sender=tasks.import_plainly, request=Context(id=JOB), terminated=True, expired=False
        )
        assert state(jobs)["status"] == "importing"
