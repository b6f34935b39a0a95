"""What may be written, how it is encoded, and how it is read again."""

from __future__ import annotations

import types
from typing import Any

import pytest
from django.core.serializers.json import DjangoJSONEncoder

from django_import_progress import InvalidProgress
from django_import_progress.core import snapshot
from django_import_progress.core.snapshot import (
    MAX_BYTES,
    decode,
    encode,
    join_json,
    loads,
    to_json,
)

DEFAULT = DjangoJSONEncoder().default


def _circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def _deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


BAD_VALUES: list[Any] = [
    float("nan"), float("inf"), -float("inf"), [1, {"a": float("nan")}], {float("inf"): 1},
    object(), {1, 2}, b"bytes", 1j, lambda: None, _circular(), _deep(100_000), {("a",): 1},
    10**5000, "\ud800", "a\udfffb", ["\ud83d"], {"\udc00": 1},
]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (123456789012345, "123456789012345"), (0.1, "0.1"), (None, "null"), (True, "true"),
        ("é😀\u2028", '"é😀\u2028"'), ('"\\\r\n\0', '"\\"\\\\\\r\\n\\u0000"'),
        ([1, {"a": 2}], '[1,{"a":2}]'), ((1, 2), "[1,2]"), (2**63, "9223372036854775808"),
    ],
)  # fmt: skip
def test_a_value_is_encoded_as_compact_json(value: Any, text: str) -> None:
    assert encode({"a": value}, DEFAULT) == {"a": text}
    assert join_json({"a": text}) == f'{{"a":{text}}}'


@pytest.mark.parametrize("value", BAD_VALUES, ids=range(len(BAD_VALUES)))
def test_a_value_without_json_is_refused_by_its_field_name(value: Any) -> None:
    with pytest.raises(InvalidProgress, match="'stage'"):
        encode({"status": "importing", "stage": value}, DEFAULT)


@pytest.mark.parametrize(
    "name", ["", "_", "_v", "__x__", 1, None, b"a", ("a",), "\ud800", "a\udfff"]
)
def test_a_name_that_cannot_be_is_refused(name: Any) -> None:
    with pytest.raises(InvalidProgress):
        encode({name: 1}, DEFAULT)


@pytest.mark.parametrize("data", [None, [], "status", 7, [("status", "x")], b"{}"])
def test_what_is_no_mapping_is_refused(data: Any) -> None:
    with pytest.raises(InvalidProgress, match="Pass a mapping"):
        encode(data, DEFAULT)


def test_any_mapping_is_taken() -> None:
    assert encode(types.MappingProxyType({"a": 1}), DEFAULT) == {"a": "1"}


def test_names_with_quotes_slashes_and_unicode_are_taken() -> None:
    data = {'a"b': 1, "a/b": 2, "日本": 3, "a\\b": 4, "a b": 5, "a\n": 6}
    assert loads(join_json(encode(data, DEFAULT))) == data


def test_exactly_64_kib_are_taken_and_one_byte_more_is_not() -> None:
    fits = MAX_BYTES - len('{"a":""}')
    assert len(join_json(encode({"a": "x" * fits}, DEFAULT)).encode()) == 65_536
    with pytest.raises(InvalidProgress, match="is 65537 bytes of JSON; the maximum is 65536"):
        encode({"a": "x" * (fits + 1)}, DEFAULT)


def test_what_json_makes_six_bytes_of_is_counted_as_such() -> None:
    text = "\x01" * (MAX_BYTES // 6)
    for data in ({"a": text}, {text: 1}):
        with pytest.raises(InvalidProgress, match="bytes of JSON"):
            encode(data, DEFAULT)


def test_the_size_is_counted_in_bytes_and_not_in_characters() -> None:
    with pytest.raises(InvalidProgress, match="bytes of JSON"):
        encode({"a": "é" * (MAX_BYTES // 2)}, DEFAULT)


def test_an_updated_at_of_the_users_does_not_smuggle_in_more_than_64_kib() -> None:
    with pytest.raises(InvalidProgress):
        encode({"updated_at": "x" * (MAX_BYTES * 2)}, DEFAULT)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "[1e400]"])
def test_what_is_read_never_holds_a_nan_or_an_infinity(text: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|range|finite"):
        loads(text)


def test_json_that_is_too_deep_or_too_long_a_number_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        loads("[" * 200_000)
    with pytest.raises(ValueError, match="digits"):
        loads("1" * 5000)


def test_an_empty_hash_is_no_job() -> None:
    assert decode({}) is None


@pytest.mark.parametrize("as_bytes", [True, False])
def test_a_hash_is_parted_into_fields_and_bookkeeping(as_bytes: bool) -> None:
    flat = {"status": '"importing"', "é": "1.5", "_l": "17", "_v": "3", "_o": '"42"', "_t": "60"}
    raw: Any = {n.encode(): v.encode() for n, v in flat.items()} if as_bytes else flat
    stored = decode(raw)
    assert stored is not None
    assert stored.fields == {"status": "importing", "é": 1.5}
    assert (stored.life, stored.version, stored.owner) == (17, 3, "42")
    assert (stored.written, stored.order) == ((17, 3), (17, 3, 0))
    assert not stored.ended


def test_what_somebody_wrote_by_hand_is_shown_as_the_text_that_it_is() -> None:
    stored = decode({b"status": b"importing", b"x": b"\xff", b"n": b"NaN", b"_v": b"junk"})
    assert stored is not None
    assert stored.fields == {"status": "importing", "x": "\ufffd", "n": "NaN"}
    assert (stored.life, stored.version, stored.owner) == (0, 0, None)


@pytest.mark.parametrize("value", [True, 1.0, "1", None, []])
def test_bookkeeping_of_another_type_counts_as_none(value: Any) -> None:
    stored = snapshot.split_bookkeeping({"_v": value, "_l": value, "_o": 7})
    assert (stored.written, stored.owner) == ((0, 0), None)


@pytest.mark.parametrize("status", ["done", "failed", "cancelled"])
def test_three_statuses_are_terminal(status: str) -> None:
    assert snapshot.is_terminal({"status": status})


@pytest.mark.parametrize("status", ["queued", "DONE", "done ", None, 1, ["done"], {"done": 1}])
def test_no_other_status_is_terminal(status: Any) -> None:
    assert not snapshot.is_terminal({"status": status})
    assert not snapshot.is_terminal({})


@pytest.mark.parametrize(
    ("fields", "percent"),
    [
        ({"total_rows": 3, "processed_rows": 1}, 33.3),
        ({"total_rows": 3, "processed_rows": 2}, 66.6),
        ({"total_rows": 100_000, "processed_rows": 99_999}, 99.9),
        ({"total_rows": 10, "processed_rows": 11}, 100.0),
        ({"total_rows": 10, "processed_rows": -1}, 0.0), ({"total_rows": 10}, 0.0),
        ({"total_rows": 10, "processed_rows": None}, 0.0), ({}, None),
        ({"total_rows": None, "processed_rows": 5}, None),
        ({"total_rows": 0, "processed_rows": 0}, None),
        ({"total_rows": -5, "processed_rows": 1}, None),
        ({"status": "done"}, 100.0),
        ({"status": "done", "total_rows": 9, "processed_rows": 1}, 100.0),
        ({"status": "failed", "total_rows": 4, "processed_rows": 1}, 25.0),
        ({"total_rows": "10", "processed_rows": 1}, 10.0),
        ({"total_rows": 10, "processed_rows": "1.50"}, 15.0),
        ({"total_rows": 10, "processed_rows": "one"}, None),
        ({"total_rows": [10], "processed_rows": 1}, None),
        ({"total_rows": True, "processed_rows": 1}, None),
        ({"total_rows": 1.5, "processed_rows": 0.75}, 50.0),
        ({"total_rows": 1e308, "processed_rows": 1e308}, 100.0),
        ({"total_rows": 10**400, "processed_rows": 0.5}, 0.0),
        ({"total_rows": 0.3, "processed_rows": 0.1}, 33.3),
    ],
)  # fmt: skip
def test_percent(fields: dict[str, Any], percent: float | None) -> None:
    assert snapshot.percent(fields) == percent


def test_the_representation_wins_over_fields_of_the_same_name() -> None:
    fields = {"job_id": "x", "percent": "x", "stalled": "x", "cancelling": "x", "mine": 1}
    shown = snapshot.represent("j1", fields, stalled=True, cancelling=False)
    assert shown == {
        "job_id": "j1", "percent": None, "stalled": True, "cancelling": False,
        "outcome": None, "mine": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "stalled", "is_shown"),
    [
        ("importing", False, True),
        (7, False, True),
        (["done"], False, True),
        ("importing", True, False),
        ("queued", False, False),
        ("interrupted", False, False),
        ("done", False, False),
        ("failed", False, False),
        ("cancelled", False, False),
    ],
)
def test_a_job_that_nobody_imports_has_no_rate_and_no_time_left(
    status: Any, stalled: bool, is_shown: bool
) -> None:
    forecast = {"rows_per_second": 480.2, "eta_seconds": 29}
    shown = snapshot.represent(
        "j1", {"status": status, **forecast}, stalled=stalled, cancelling=True
    )
    expected = forecast if is_shown else dict.fromkeys(forecast)
    assert {name: shown[name] for name in forecast} == expected


def test_no_rate_is_invented() -> None:
    shown = snapshot.represent("j1", {"status": "done"}, stalled=False, cancelling=False)
    assert not snapshot.RATES & shown.keys()


def test_json_for_watchers_is_one_line_and_strict() -> None:
    assert snapshot.to_json({"a": "é\r\n\u2028\0", "b": None}) == (
        '{"a":"é\\r\\n\u2028\\u0000","b":null}'.encode()
    )


def test_a_lone_surrogate_of_a_foreign_publisher_becomes_a_question_mark() -> None:
    assert loads(rb'{"a":"x\uD800","\udfff":["\u00e9"]}') == {"a": "x?", "?": ["é"]}
    assert loads(r'"\ud83d\ude00 \\ud800"') == "😀 \\ud800"


def test_what_is_queued_again_has_no_worker_that_could_stall() -> None:
    encoded = {"status": '"queued"', "_d": "5"}
    stored = snapshot.decode(encoded, 9)
    assert stored is not None
    assert (stored.lease, stored.stalled) == (0, False)


@pytest.mark.parametrize(
    ("lease", "promised", "is_stalled"),
    [(99, 0, True), (100, 0, False), (999, 0, False), (120, 10, False), (121, 10, True)],
)
def test_of_a_lease_no_more_can_be_left_than_it_was_long(
    lease: int, promised: int, is_stalled: bool
) -> None:
    encoded = {"status": '"importing"', "_d": str(lease), "_s": str(promised)}
    stored = snapshot.decode(encoded, 100)
    assert stored is not None
    assert stored.stalled is is_stalled


def test_what_is_nested_is_read_as_far_as_it_can_be_written_again() -> None:
    assert loads(b"[" * 200 + b"]" * 200)
    with pytest.raises(ValueError, match="nested too deeply"):
        loads(b"[" * 100_000 + b"]" * 100_000)


@pytest.mark.parametrize("odd", [b'"\xed\xa0\x80"', b'"\\ud800"'])
def test_what_is_no_text_is_replaced(odd: bytes) -> None:
    assert to_json({"a": loads(odd)})


def test_an_answer_that_is_no_json_says_why() -> None:
    with pytest.raises(InvalidProgress, match="another program wrote a field that is not JSON"):
        snapshot.loads_reply(b'"a":[1.0, nan],"_l":1,"_v":1')
