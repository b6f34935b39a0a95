"""Times in a bar: how much is left, how long a job has waited, when it ended."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone
from django.utils.translation import override

from django_import_progress.widget.text import notice_of, parts

KNOWN = {"percent": None, "stalled": False, "cancelling": False, "outcome": None}
DAY = 86_400


def left(seconds: float, language: str = "en") -> str:
    with override(language):
        return parts({**KNOWN, "eta_seconds": seconds})["pace"].replace("\xa0", " ")


def waited(seconds: float, language: str = "en") -> str:
    with override(language):
        return parts({**KNOWN, "status": "queued"}, seconds)["waited"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, ""),
        (0, ""),
        (0.2, "1 second left"),
        (60, "60 seconds left"),
        (60.1, "2 minutes left"),
        (3600, "60 minutes left"),
        (3600.1, "1 hour 1 minute left"),
        (4000, "1 hour 7 minutes left"),
        (7200, "2 hours left"),
        (7201, "2 hours 1 minute left"),
        (2 * DAY + 1, "48 hours 1 minute left"),
        (3 * DAY, "72 hours left"),
        (3 * DAY + 1, ""),
        (1_000_000_000, ""),
        (10**400, ""),
    ],
)
def test_the_time_left_is_rounded_to_useful_units(seconds: float, text: str) -> None:
    assert left(seconds) == text


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("ar", "1 ساعة و7 دقائق متبقية"),
        ("de", "noch 1 Stunde 7 Minuten"),
        ("es", "falta 1 hora y 7 minutos"),
        ("fr", "1 heure 7 minutes restantes"),
        ("ja", "残り 1 時間 7 分"),
        ("pl", "pozostała 1 godzina 7 minut"),
    ],
)
def test_hours_and_minutes_each_have_their_plural(language: str, text: str) -> None:
    assert left(4000, language) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, ""),
        (14.9, ""),
        (15, "Waiting for 15 seconds"),
        (59.9, "Waiting for 45 seconds"),
        (60, "Waiting for 1 minute"),
        (3599, "Waiting for 59 minutes"),
        (3600, "Waiting for 1 hour"),
        (2 * DAY - 1, "Waiting for 47 hours"),
        (2 * DAY, "Waiting for 2 days"),
        (7 * DAY, "Waiting for 7 days"),
    ],
)
def test_the_waiting_time_is_in_the_largest_unit(seconds: float, text: str) -> None:
    assert waited(seconds) == text


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("ar", "في الانتظار منذ 2 ساعتين"),
        ("de", "Wartet seit 2 Stunden"),
        ("es", "En espera desde hace 2 horas"),
        ("fr", "En attente depuis 2 heures"),
        ("ja", "2 時間待機中"),
        ("pl", "Oczekuje od 2 godzin"),
    ],
)
def test_the_waiting_time_is_translated(language: str, text: str) -> None:
    assert waited(7200, language) == text


@pytest.mark.parametrize(
    ("fields", "waited_seconds", "notice"),
    [
        ({}, None, ""),
        ({}, 59.9, ""),
        ({}, 60, "unstarted"),
        ({"cancelling": True}, 60, "cancelling"),
        ({"stalled": True, "cancelling": True}, None, "stalled"),
    ],
)
def test_after_a_minute_in_the_queue_there_is_a_notice(
    fields: dict[str, Any], waited_seconds: float | None, notice: str
) -> None:
    assert notice_of({**KNOWN, **fields}, waited_seconds) == notice


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "Ended 2026-07-31 00:02"),
        ({"started_at": "2026-07-30T22:01:01.5+00:00"}, "Ended 2026-07-31 00:02 · took 0:00:58"),
        ({"started_at": "2026-07-30T21:02:00+00:00"}, "Ended 2026-07-31 00:02 · took 1:00:00"),
        ({"started_at": "2026-07-30T21:50+00:00"}, "Ended 2026-07-31 00:02 · took 0:12:00"),
        ({"started_at": "2026-07-30T22:03:00+00:00"}, "Ended 2026-07-31 00:02"),
        ({"started_at": 5, "ended_at": "2026-07-28T22:00:00+00:00"}, "Ended 2026-07-29 00:00"),
        ({"ended_at": "yesterday"}, ""),
        ({"ended_at": "9999-12-31T23:59:59+00:00"}, ""),
        ({"status": "importing"}, ""),
    ],
)
def test_an_ended_bar_says_when_it_ended_and_how_long_it_took(
    fields: dict[str, Any], text: str
) -> None:
    job = {**KNOWN, "status": "done", "updated_at": "2026-07-30T22:02:00+00:00", **fields}
    with timezone.override("Europe/Rome"):
        assert parts(job)["pace"] == text
