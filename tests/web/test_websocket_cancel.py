"""The reply to a cancel command on a socket that watches the job: states stay in order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from django_import_progress.core.job_state import State
from django_import_progress.web import websocket
from django_import_progress.web.websocket import Socket

from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.sockets import ask, hear, say
from ..kit.waiting import until

__all__ = ["defence"]

JOB = "j1"


@pytest.fixture
def ticket(jobs: SyncProgressManager) -> str:
    jobs.create(JOB)
    return make_ticket(JOB, cancel=True)


def answers_with_what_it_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the state that was read after the request, although a newer one may have been sent."""

    async def ask_to_stop(self: Socket, reference: str) -> str:
        user = await self._user_now()
        state, _ = await websocket.cancel(reference, user=user, manager=self._manager)
        assert state is not None
        return state.message

    monkeypatch.setattr(Socket, "_cancel_command", ask_to_stop)


@without(answers_with_what_it_read)
def test_an_end_that_was_sent_is_the_last_that_is_sent(
    prefix_socket: ClientConnection,
    jobs: SyncProgressManager,
    ticket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = websocket.cancel
    sent: list[str] = []
    say_it = Socket._send_text

    async def note(self: Socket, text: str) -> None:
        await say_it(self, text)
        sent.append(text)

    async def cancel(*args: Any, **how: Any) -> tuple[State | None, bool]:
        """The worker ends between the read and the reply, and its end is sent before the reply."""
        result = await real(*args, **how)
        await asyncio.to_thread(jobs.update, JOB, {"status": "cancelled"})
        await until(lambda: any('"cancelled"' in text for text in sent), "the end to be sent")
        return result

    monkeypatch.setattr(Socket, "_send_text", note)
    monkeypatch.setattr(websocket, "cancel", cancel)
    assert ask(prefix_socket, "watch", ticket)["status"] == "queued"
    say(prefix_socket, "cancel", ticket)
    seen: list[Any] = []
    while not seen or seen[-1]["status"] != "cancelled":
        seen.append(hear(prefix_socket))
    assert "error" in ask(prefix_socket, "watch", "nothing")
    assert not any(shown["status"] == "cancelled" for shown in seen[:-1])


def test_a_cancel_is_answered_even_if_the_job_was_cancelling_before(
    prefix_socket: ClientConnection, jobs: SyncProgressManager, ticket: str
) -> None:
    assert ask(prefix_socket, "watch", ticket)["status"] == "queued"
    jobs.request_cancel(JOB)
    assert hear(prefix_socket)["cancelling"]
    for _ in range(3):
        answer = ask(prefix_socket, "cancel", ticket)
        assert (answer["job_id"], answer["cancelling"]) == (JOB, True)


def test_a_job_that_is_not_watched_is_answered_with_its_state(
    prefix_socket: ClientConnection, ticket: str
) -> None:
    answer = ask(prefix_socket, "cancel", ticket)
    assert (answer["status"], answer["cancelling"]) == ("queued", True)
