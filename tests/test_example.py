"""The example's importer: airports from a file into the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airports.forms import ImportForm
from airports.importer import COLUMNS, KEPT_REFUSALS, SAMPLE, BadFile, run_import
from airports.models import Airport
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command

from django_import_progress import SyncProgressManager

from .kit.airports import ZURICH, as_csv, imported, numbered, reasons, stored
from .kit.processes import RedisProcess

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
    assert (first.rows_created, first.rows_updated, first.rows_refused) == (ROWS, 0, 0)
    assert Airport.objects.count() == ROWS
    second = imported(some)
    assert (second.rows_created, second.rows_updated, second.rows_refused) == (0, ROWS, 0)
    assert Airport.objects.count() == ROWS
    snapshot = jobs.get_progress(second.pk)
    assert snapshot is not None
    assert snapshot["status"] == "done"
    assert snapshot["total_rows"] == snapshot["processed_rows"] == ROWS
    assert (snapshot["created"], snapshot["updated"], snapshot["refused"]) == (0, ROWS, 0)


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
def test_a_bad_row_is_refused(site: RedisProcess, values: dict[str, str], reason: str) -> None:
    import_ = imported(as_csv({**numbered(1)[0], **values}, ZURICH))
    assert (import_.rows_created, import_.rows_refused) == (1, 1)
    assert Airport.objects.get().icao == "LSZH"
    assert reason in import_.refused[0]["reason"]


def test_refused_rows_are_told_by_line(jobs: SyncProgressManager) -> None:
    head, *rows = as_csv(*numbered(4)).splitlines(keepends=True)
    several_lines = rows[1].replace(b"Z\xc3\xbcrich Airport", b'"Z\xc3\xbcrich\nAirport"')
    content = head + rows[0] + several_lines + b"too,short\r\n" + rows[2][:-2] + b",more\r\n"
    import_ = imported(content + b"\r\n" + rows[3].replace(b"47.4647", b"north"))
    assert reasons(import_) == {
        5: "It has more or fewer values than the first line has columns.",
        6: "It has more or fewer values than the first line has columns.",
        8: "lat: “north” value must be a decimal number.",
    }
    snapshot = jobs.get_progress(import_.pk)
    assert snapshot is not None
    assert (snapshot["total_rows"], snapshot["created"], snapshot["refused"]) == (5, 2, 3)


def test_only_the_first_refused_rows_are_kept(site: RedisProcess) -> None:
    import_ = imported(as_csv(*numbered(KEPT_REFUSALS + 450, country="?")))
    assert len(import_.refused) == KEPT_REFUSALS
    assert import_.rows_refused == KEPT_REFUSALS + 450
    assert import_.rows_refused_untold == 450


def test_a_byte_order_mark_is_no_part_of_the_first_column(site: RedisProcess) -> None:
    assert imported(b"\xef\xbb\xbf" + as_csv(ZURICH)).rows_created == 1


def test_columns_may_come_in_any_order_and_with_others(site: RedisProcess) -> None:
    columns = ["remarks", *reversed(COLUMNS)]
    assert imported(as_csv({**ZURICH, "remarks": "-"}, columns=columns)).rows_created == 1


def test_no_rows_are_no_failure(jobs: SyncProgressManager) -> None:
    import_ = imported(as_csv())
    assert import_.finished_at is not None
    assert jobs.get_progress(import_.pk)["status"] == "done"  # type: ignore[index]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "The first line must name, separated by commas: icao, "),
        (b"icao;iata;name\n", "The first line must name, separated by commas: icao, "),
        (as_csv(columns=COLUMNS[:-2]), "It lacks tz, lid."),
        ("Zürich".encode("latin-1"), "This file is not in UTF-8."),
        (as_csv(*numbered(9)) + "Zürich".encode("latin-1"), "This file is not in UTF-8."),
        (as_csv(ZURICH) + b'"' + b"x" * 200_000, "Is a quote missing?"),
    ],
)
def test_a_file_that_cannot_be_read_fails_with_its_own_message(
    jobs: SyncProgressManager, content: bytes, message: str
) -> None:
    import_ = stored(content)
    with pytest.raises(BadFile, match=message.replace("?", r"\?")):
        run_import(import_)
    snapshot = jobs.get_progress(import_.pk)
    assert snapshot is not None
    assert snapshot["status"] == "failed"
    assert message in snapshot["error_message"]
    assert not Airport.objects.exists()


def test_a_second_attempt_counts_anew(site: RedisProcess) -> None:
    import_ = imported(as_csv(ZURICH, {**ZURICH, "icao": "?"}))
    run_import(import_)
    assert (import_.rows_created, import_.rows_updated, import_.rows_refused) == (0, 1, 1)
    assert len(import_.refused) == 1


def test_the_form_takes_the_sample() -> None:
    form = ImportForm({"source": "sample"})
    assert form.is_valid()
    with form.open_file() as file:
        assert file.name == "airports.csv"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Choose a CSV file, or take the sample."),
        (b"", "The first line must name"),
        (b"a,b\n", "The first line must name"),
        (as_csv(), "This file has only a first line. Add a row for an airport."),
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
