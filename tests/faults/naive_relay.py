"""What a naive relay would do: switches for negative controls."""

from __future__ import annotations

from typing import Any

import pytest

from django_import_progress import relay
from django_import_progress.core.job_state import State
from django_import_progress.relay import Relay
from django_import_progress.watch import pubsub_connection, subscriber
from django_import_progress.watch.pattern_hub import PatternHub


def tells_only_what_it_hears(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rely on messages: read nothing again, and look for nothing."""
    monkeypatch.setattr(Relay, "_request_full_scan", lambda self: None)
    monkeypatch.setattr(subscriber.Subscriber, "request_read", _serve_at_once)


def _serve_at_once(self: subscriber.Subscriber, slot: Any, **_: Any) -> None:
    slot.confirmed_read = slot.requested_read
    self.is_working = True


def looks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read again what it knows, and no more."""
    monkeypatch.setattr(Relay, "_request_full_scan", lambda self: None)


def bears_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe that a link lives until TCP says that it does not."""
    for module in (pubsub_connection, subscriber):
        monkeypatch.setattr(module, "SILENCE_SECONDS", 3600)


def takes_any_answer_for_its_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe that who is answered over one connection is served over the other."""

    def note_response(self: PatternHub) -> None:
        if self._subscriber is not None:  # pragma: no branch - whether it is depends on the moment
            self._subscriber.note_response()

    monkeypatch.setattr(PatternHub, "note_response", note_response)


def drops_what_the_layer_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send once."""
    send_one = Relay._send_one

    async def send_once(self: Relay, state: State) -> None:
        try:
            await send_one(self, state)
        except Exception as error:
            raise ValueError from error

    monkeypatch.setattr(Relay, "_send_one", send_once)


def waits_for_the_layer_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe that a layer answers, or fails."""
    monkeypatch.setattr(relay, "CALL_SECONDS", 3600)


def tells_an_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe that what was sent has arrived."""
    monkeypatch.setattr(relay, "END_SENDS", 1)


def ends_with_its_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no second try."""

    async def serve(self: Any) -> None:
        await self._new_subscriber().run()

    monkeypatch.setattr(relay.PatternHub, "_stay_subscribed", serve)
