"""What a terminal is shown, and what it must not be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_import_progress.core.snapshot import represent
from django_import_progress.management.terminal_text import (
    amount,
    cut,
    description,
    line,
    printable,
    printable_json,
)


def job(*, stalled: bool = False, cancelling: bool = False, **fields: Any) -> dict[str, Any]:
    return represent("job", fields, stalled=stalled, cancelling=cancelling)


@given(st.text(st.characters()))
def test_whatever_is_shown_is_printable(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(text) == text or not text.isprintable()


@given(st.recursive(st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=9))
def test_json_is_plain_ascii_and_says_the_same(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert printable_json(text).isprintable()
    assert printable_json(text).isascii()
    assert json.loads(printable_json(text)) == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("日本 é 😀 [bold]", "日本 é 😀 [bold]"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b", r"\x9b"),
        ("a\r\nb\t", r"a\r\nb\t"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\ud800", r"\ud800"),
        ({"a": "\x07"}, r"{'a': '\x07'}"),
    ],
)
def test_what_a_terminal_would_obey_is_spelt(text: object, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, "waiting"),
        (
            {"status": "done", "processed_rows": 1234, "rejected_rows": 1200},
            "done · partly imported  100.0 %, 1,234 rows, 1,200 rejected",
        ),
        (
            {"status": "done", "processed_rows": 1, "rejected_rows": 1},
            "done · nothing imported  100.0 %, 1 row, 1 rejected",
        ),
        ({"status": "importing", "processed_rows": 12345}, "importing  12,345 rows"),
        (
            {"status": "importing", "processed_rows": 1, "total_rows": 4, "stage": "first"},
            "importing · first  25.0 %, 1 of 4 rows",
        ),
        (
            {"processed_rows": 1, "rows_per_second": 1234.5, "eta_seconds": 65.2},
            "waiting  1 row, 1,234 a second, 1:05 left",
        ),
        ({"eta_seconds": 3599.9}, "waiting  59:59 left"),
        ({"eta_seconds": 4000}, "waiting  1:06:40 left"),
        ({"eta_seconds": 3 * 86_400}, "waiting  72:00:00 left"),
        ({"eta_seconds": 3 * 86_400 + 1}, "waiting"),
        ({"eta_seconds": -1}, "waiting"),
        ({"stalled": True, "eta_seconds": 60, "rows_per_second": 5}, "waiting · stalled"),
        ({"status": "done", "eta_seconds": 60, "rows_per_second": 5}, "done  100.0 %"),
        ({"eta_seconds": 1e300, "rows_per_second": "many", "total_rows": []}, "waiting"),
        ({"stalled": True, "cancelling": True}, "waiting · stalled · cancelling"),
    ],
)
def test_a_job_is_told_in_a_line(fields: dict[str, Any], shown: str) -> None:
    assert line(job(**fields)) == shown


def test_an_amount_is_what_is_known() -> None:
    assert amount(job(status="done")) == "100.0 %"


def test_a_line_is_cut_to_the_width() -> None:
    assert [cut("abc", width) for width in (4, 3, 2, 1)] == ["abc", "abc", "a…", "…"]


def test_texts_and_numbers_are_shown_whatever_their_type() -> None:
    shown = job(error_message={"price": ["Not a number.", 5], "12": None}, stage=0)
    assert line(shown) == "waiting · 0 · 12:  · price: Not a number. · 5"
    counted = job(processed_rows="1000.0", total_rows="2000", rows_per_second="2.5")
    assert line(counted) == "waiting  50.0 %, 1,000 of 2,000 rows, 2 a second"


@pytest.mark.parametrize(
    ("kind", "word"), [(None, "importing"), ("export", "exporting"), ("sync", "running")]
)
def test_the_status_depends_on_the_kind_and_the_label_follows(kind: str | None, word: str) -> None:
    job = represent(
        "j",
        {"status": "importing", "kind": kind, "label": "a\x1b.csv"},
        stalled=False,
        cancelling=False,
    )
    assert description(job) == f"{word} · a\\x1b.csv"


@pytest.mark.parametrize(
    ("fields", "is_unstarted"),
    [
        ({"updated_at": "2020-01-01T00:00:00+00:00"}, True),
        ({"updated_at": "2020-01-01T00:00:00+00:00", "attempt": 1}, False),
        ({"updated_at": "2020-01-01T00:00:00+00:00", "status": "importing"}, False),
        ({"updated_at": "2020-01-01T00:00:00"}, False),
        ({"updated_at": "9999-01-01T00:00:00+00:00"}, False),
        ({"updated_at": "yesterday"}, False),
        ({}, False),
    ],
)
def test_a_job_that_no_worker_has_started_for_a_minute_says_so(
    fields: dict[str, object], is_unstarted: bool
) -> None:
    job = represent("j", {"status": "queued", **fields}, stalled=False, cancelling=False)
    assert ("no worker has started it yet" in description(job)) == is_unstarted
