"""Naive relays: switches for negative controls."""

from __future__ import annotations

from typing import Any

import pytest

from django_import_progress import relay
from django_import_progress.core.job_state import State
from django_import_progress.relay import Relay
from django_import_progress.watch import pubsub_connection, subscriber
from django_import_progress.watch.hub import Hub
from django_import_progress.watch.reconnect import ReconnectPolicy


def relies_on_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rely on messages: read and scan nothing."""
    monkeypatch.setattr(Relay, "_request_full_scan", lambda self: None)
    monkeypatch.setattr(subscriber.Subscriber, "request_read", _serve_at_once)


def _serve_at_once(self: subscriber.Subscriber, slot: Any, **_: Any) -> None:
    slot.confirmed_read = slot.requested_read
    self.policy.note_response()


def scans_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read known jobs again, without scans."""
    monkeypatch.setattr(Relay, "_request_full_scan", lambda self: None)


def waits_for_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait until TCP reports that a connection is broken."""
    for module in (pubsub_connection, subscriber):
        monkeypatch.setattr(module, "SILENCE_SECONDS", 3600)


def confuses_its_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat a response on one connection as one on the other."""

    def note_response(self: Hub) -> None:
        if self._subscriber is not None:  # pragma: no branch - whether it is depends on the moment
            self._subscriber.policy.note_response()

    monkeypatch.setattr(Hub, "note_response", note_response)


def sends_without_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not retry a failed send."""
    send_one = Relay._send_one

    async def send_once(self: Relay, state: State) -> None:
        try:
            await send_one(self, state)
        except Exception as error:
            raise ValueError from error

    monkeypatch.setattr(Relay, "_send_one", send_once)


def has_no_time_limit_for_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send to the layer without a time limit."""
    monkeypatch.setattr(relay, "CALL_SECONDS", 3600)


def sends_an_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send an end only once."""
    monkeypatch.setattr(relay, "END_SENDS", 1)


def never_reconnects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never reconnect."""

    async def serve(self: Any) -> None:
        policy = ReconnectPolicy(self._redis)
        await subscriber.Subscriber(self._redis, policy, self._jobs, 3600, self._pattern).run()

    monkeypatch.setattr(relay.Hub, "_stay_subscribed", serve)
