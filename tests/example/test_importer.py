"""The example's importer: airports from a file into the database."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from airports import reading
from airports.forms import ImportForm
from airports.importer import COLUMNS, SAMPLE, BadFile, run_import
from airports.models import Airport
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command

from django_import_progress import SyncProgressManager
from django_import_progress.tracker.rejects.csv_file import csv_lines

from ..faults.conftest import defence
from ..kit.airports import ZURICH, as_csv, imported, numbered, reasons, stored
from ..kit.controls import without
from ..kit.processes import RedisProcess

__all__ = ["defence"]

# Transactions are real: the end of a job is told after the commit only.
pytestmark = pytest.mark.django_db(transaction=True)

ROWS = 2_500
"""Three batches of the sample; all of it is what the demo's tests import."""


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings: Any) -> Path:
    """Where uploads go."""
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def test_the_sample_goes_in_and_goes_in_again(jobs: SyncProgressManager) -> None:
    some = b"".join(SAMPLE.read_bytes().splitlines(keepends=True)[: ROWS + 1])
    first = imported(some)
    assert (first.rows_created, first.rows_updated, first.rows_rejected) == (ROWS, 0, 0)
    assert Airport.objects.count() == ROWS
    second = imported(some)
    assert (second.rows_created, second.rows_updated, second.rows_rejected) == (0, ROWS, 0)
    assert Airport.objects.count() == ROWS
    snapshot = jobs.get_progress(second.pk)
    assert snapshot is not None
    assert snapshot["status"] == "done"
    assert snapshot["total_rows"] == snapshot["processed_rows"] == ROWS
    assert (snapshot["created"], snapshot["updated"]) == (0, ROWS)
    assert "rejected_rows" not in snapshot


def test_values_arrive(site: RedisProcess) -> None:
    imported(as_csv({**ZURICH, "name": " Zürich Airport  "}))
    airport = Airport.objects.get(icao="LSZH")
    assert str(airport) == "LSZH Zürich Airport"
    assert (airport.iata, airport.country, airport.lid) == ("ZRH", "CH", "")
    assert (float(airport.lat), float(airport.lon), float(airport.elevation)) == (
        47.4647,
        8.5492,
        1416,
    )


def test_an_update_replaces_values(site: RedisProcess) -> None:
    imported(as_csv(ZURICH))
    imported(as_csv({**ZURICH, "name": "Kloten"}))
    assert Airport.objects.get().name == "Kloten"


def test_a_row_that_comes_twice_counts_as_updated(site: RedisProcess) -> None:
    import_ = imported(as_csv(ZURICH, {**ZURICH, "name": "Kloten"}))
    assert (import_.rows_created, import_.rows_updated) == (1, 1)
    assert Airport.objects.get().name == "Kloten"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"icao": "LSZ"}, "icao: Write four capital letters or digits."),
        ({"icao": ""}, "icao: This field cannot be blank."),
        ({"icao": "LSZH\n2"}, "icao: "),
        ({"iata": "zrh"}, "iata: Write three capital letters, or nothing."),
        ({"name": ""}, "name: This field cannot be blank."),
        ({"name": "Zürich\0"}, "name: Null characters are not allowed."),
        ({"country": "CHE"}, "country: Write the two capital letters"),
        ({"lat": "90.1"}, "lat: Ensure this value is less than or equal to 90."),
        ({"lat": "nan"}, "lat: “nan” value must be a decimal number."),
        ({"lon": "-181"}, "lon: Ensure this value is greater than or equal to -180."),
        ({"elevation": "high"}, "elevation: “high” value must be a decimal number."),
        ({"elevation": "30000"}, "elevation: Ensure this value is less than or equal to 20000."),
        ({"tz": "Zürich"}, "tz: Write it as in Europe/Paris."),
        ({"lid": "a b"}, "lid: Write capital letters, digits and hyphens."),
    ],
)
def test_a_bad_row_is_rejected(site: RedisProcess, values: dict[str, str], reason: str) -> None:
    import_ = imported(as_csv({**numbered(1)[0], **values}, ZURICH))
    assert (import_.rows_created, import_.rows_rejected) == (1, 1)
    assert Airport.objects.get().icao == "LSZH"
    [found] = reasons(import_).values()
    assert reason in found


def test_rejected_rows_are_reported_by_line(jobs: SyncProgressManager) -> None:
    head, *rows = as_csv(*numbered(4)).splitlines(keepends=True)
    several_lines = rows[1].replace(b"Z\xc3\xbcrich Airport", b'"Z\xc3\xbcrich\nAirport"')
    content = head + rows[0] + several_lines + b"too,short\r\n" + rows[2][:-2] + b",more\r\n"
    import_ = imported(content + b"\r\n" + rows[3].replace(b"47.4647", b"north"))
    assert reasons(import_) == {
        5: "The row has more or fewer values than the first line has columns.",
        6: "The row has more or fewer values than the first line has columns.",
        8: "lat: “north” value must be a decimal number.",
    }
    snapshot = jobs.get_progress(import_.pk)
    assert snapshot is not None
    assert (snapshot["total_rows"], snapshot["created"], snapshot["rejected_rows"]) == (5, 2, 3)


def test_the_report_can_be_fixed_and_imported(jobs: SyncProgressManager) -> None:
    import_ = imported(as_csv(*numbered(3), {**ZURICH, "lat": "north"}))
    text = "".join(csv_lines(jobs.report(import_.pk)))
    fixed = imported(text.replace("north", "47.4647").encode())
    assert (fixed.rows_created, fixed.rows_rejected) == (1, 0)
    assert Airport.objects.count() == 4


def test_a_byte_order_mark_is_no_part_of_the_first_column(site: RedisProcess) -> None:
    assert imported(b"\xef\xbb\xbf" + as_csv(ZURICH)).rows_created == 1


def test_columns_may_come_in_any_order_and_with_others(site: RedisProcess) -> None:
    columns = ["remarks", *reversed(COLUMNS)]
    assert imported(as_csv({**ZURICH, "remarks": "-"}, columns=columns)).rows_created == 1


def test_no_rows_are_no_failure(jobs: SyncProgressManager) -> None:
    import_ = imported(as_csv())
    assert import_.finished_at is not None
    assert jobs.get_progress(import_.pk)["status"] == "done"  # type: ignore[index]


def _with_a_quote(*lines: int, of: int = 800) -> bytes:
    """Return a file with a stray quote before the name in these lines."""
    rows = as_csv(*numbered(of)).splitlines(keepends=True)
    for line in lines:
        rows[line - 1] = rows[line - 1].replace(b",Z", b',"Z', 1)
    return b"".join(rows)


def _renamed(**names: str) -> bytes:
    return as_csv(columns=[names.get(name, name) for name in COLUMNS])


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "This file is empty: 0 bytes. Export it again"),
    "blank": (b"\r\n \r\n", "The first line must name, separated by commas: icao, "),
    "semicolons": (
        as_csv(ZURICH).replace(b",", b";"),
        "The columns are separated by semicolons. The first line must name, separated by commas",
    ),
    "tabs": (as_csv(ZURICH).replace(b",", b"\t"), "The columns are separated by tabs."),
    "bars": (as_csv(ZURICH).replace(b",", b"|"), "The columns are separated by vertical bars."),
    "one column": (b"icao\nLSZH\n", "Missing: iata, name, "),
    "missing columns": (as_csv(columns=COLUMNS[:-2]), "Missing: tz, lid."),
    "a column twice": (
        as_csv(ZURICH, columns=[*COLUMNS, "name"]),
        "The first line names name more than once",
    ),
    "twice but for a space": (_renamed(lid="city "), "The first line names city more than once"),
    "latin-1": ("Zürich".encode("latin-1"), "This file is not in UTF-8. Save it again"),
    "latin-1 at the end": (
        as_csv(*numbered(900)) + "Zürich".encode("latin-1"),
        "This file is not in UTF-8.",
    ),
    "UTF-16": (as_csv(ZURICH).decode().encode("utf-16"), "This file is in UTF-16"),
    "UTF-16 without a mark": (as_csv(ZURICH).decode().encode("utf-16-le"), "is in UTF-16, or not"),
    "UTF-32": (as_csv(ZURICH).decode().encode("utf-32"), "This file is in UTF-"),
    "xlsx": (b"PK\x03\x04" + b"x" * 99, "This file is an Excel workbook (.xlsx)"),
    "xls": (b"\xd0\xcf\x11\xe0" + b"x" * 99, "This file is an old Excel workbook (.xls)"),
    "an open quote": (_with_a_quote(3), "Lines 3 to 801: invalid CSV (unexpected end of data)"),
    "an open quote in the last line": (_with_a_quote(801), "Line 801: invalid CSV"),
    "a quote that closes far below": (_with_a_quote(3, 700), "Lines 3 to 700: invalid CSV"),
    "one that closes before a comma": (
        _with_a_quote(3).replace(b"X600,,", b'X600",,'),
        "Lines 3 to 602: invalid CSV (a value has too many lines)",
    ),
    "a quote inside a value": (
        as_csv(ZURICH) + as_csv(ZURICH).splitlines()[1].replace(b",Z", b',"Z"ri', 1),
        "Line 3: invalid CSV (',' expected after '\"')",
    ),
    "a very long value": (
        as_csv(ZURICH, ZURICH, {**ZURICH, "name": "x" * 200_000}),
        "Line 4: invalid CSV (field larger than field limit (131072))",
    ),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_file_that_cannot_be_read_fails_with_the_cause_and_the_fix(
    jobs: SyncProgressManager, what: str
) -> None:
    content, message = BAD_FILES[what]
    import_ = stored(content)
    with pytest.raises(BadFile, match=re.escape(message)):
        run_import(import_)
    snapshot = jobs.get_progress(import_.pk)
    assert snapshot is not None
    assert snapshot["status"] == "failed"
    assert message in snapshot["error_message"]
    assert not Airport.objects.exists()


def _csv_is_not_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = csv.reader
    monkeypatch.setattr(reading.csv, "reader", lambda text, strict: reader(text))
    monkeypatch.setattr(reading, "MOST_LINES", 10_000)


@without(_csv_is_not_strict, fails_with=(pytest.fail.Exception,))
def test_an_open_quote_swallows_nothing(site: RedisProcess) -> None:
    with pytest.raises(BadFile):
        imported(_with_a_quote(3))
    assert not Airport.objects.exists()


def test_rows_of_commas_only_are_skipped_and_lines_still_counted(
    jobs: SyncProgressManager,
) -> None:
    head, good, bad = as_csv(*numbered(2)).splitlines(keepends=True)
    empty = b"," * (len(COLUMNS) - 1) + b"\r\n"
    import_ = imported(head + empty + good + b" , ,\r\n\r\n" + bad.replace(b"47.4647", b"north"))
    assert list(reasons(import_)) == [6]
    assert (import_.rows_created, import_.rows_rejected) == (1, 1)
    assert jobs.get_progress(import_.pk)["total_rows"] == 2  # type: ignore[index]


def test_a_rejected_row_is_reported_by_its_first_line(site: RedisProcess) -> None:
    row = {**ZURICH, "name": "Zürich\nAirport", "lat": "north"}
    assert list(reasons(imported(as_csv(ZURICH, row, {**ZURICH, "lat": "south"})))) == [3, 5]


def test_spaces_around_names_and_columns_without_one_do_no_harm(site: RedisProcess) -> None:
    content = as_csv(ZURICH).replace(b",iata", b", iata ").replace(b"\r\n", b",,\r\n")
    assert imported(content).rows_created == 1


def test_a_second_attempt_counts_from_zero(site: RedisProcess) -> None:
    import_ = imported(as_csv(ZURICH, {**ZURICH, "icao": "?"}))
    run_import(import_)
    assert (import_.rows_created, import_.rows_updated, import_.rows_rejected) == (0, 1, 1)
    assert list(reasons(import_)) == [3]


def test_the_form_takes_the_sample() -> None:
    form = ImportForm({"source": "sample"})
    assert form.is_valid()
    with form.open_file() as file:
        assert file.name == "airports.csv"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Choose a CSV file, or use the sample."),
        (b"", "This file is empty: 0 bytes."),
        (b"a,b\n", "The first line must name"),
        (as_csv(), "This file has only a header line. Add rows."),
        (as_csv(ZURICH) + b"\xff", "This file is not in UTF-8. Save it again"),
    ],
)
def test_the_form_refuses_with_the_fix(content: bytes | None, message: str) -> None:
    files = {} if content is None else {"file": SimpleUploadedFile("a.csv", content)}
    form = ImportForm({"source": "own"}, files)
    assert not form.is_valid()
    assert message in form.errors["file"][0]


def test_the_migrations_are_complete() -> None:
    call_command("makemigrations", "airports", check=True, verbosity=0)
