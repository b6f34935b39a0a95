"""Read a CSV file row by row; errors say what is wrong with the file and how to fix it."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.files import File

COLUMNS = ["icao", "iata", "name", "city", "subd", "country"]
COLUMNS += ["elevation", "lat", "lon", "tz", "lid"]
HEAD_BYTES = 4096
"""The part of a file that is checked before it is read as text."""
MOST_LINES = 50
"""A value with more lines has an unclosed quote, which another one far below has closed."""

WANTED = f"The first line must name, separated by commas: {', '.join(COLUMNS)}."
SAVE_AS_CSV = "Save it again as “CSV UTF-8 (comma delimited)”, for example in a spreadsheet."
NOT_CSV = {
    b"PK\x03\x04": "an Excel workbook (.xlsx) or another archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls)",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "compressed by gzip",
    codecs.BOM_UTF16_LE: "in UTF-16",
    codecs.BOM_UTF16_BE: "in UTF-16",
    codecs.BOM_UTF32_BE: "in UTF-32",
}
"""First bytes of files that are not CSV in UTF-8, whatever their names."""
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}

Line = tuple[int, dict[str | None, Any]]
"""The number of the row's first line, and the row. If it has more or fewer values than there are
columns, the key None holds those that have no column."""


class BadFile(Exception):
    """A file that cannot be read; the message tells the user what to do."""


@contextmanager
def read_rows(file: File[bytes]) -> Iterator[Iterator[Line]]:
    """Open a CSV file and stream its rows. Empty rows, and rows with only commas, are skipped.

    Raises:
        BadFile: it is not CSV, or lacks columns. May also be raised while rows are read.
    """
    file.seek(0)
    _check_head(file.read(HEAD_BYTES))
    file.seek(0)
    # "-sig": spreadsheets often write a byte order mark.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        # `strict`: otherwise an unclosed quote silently swallows the rest of the file.
        rows = _rows(csv.reader(text, strict=True))
        _, names = next(rows, (0, []))
        columns = [name.strip() for name in names]
        _check_columns(columns)
        yield ((line, _as_row(columns, values)) for line, values in rows)
    except UnicodeDecodeError:
        raise BadFile(f"This file is not in UTF-8. {SAVE_AS_CSV}") from None
    finally:
        text.detach()  # Otherwise the wrapper would close the file, which belongs to the caller.


def count_rows(file: File[bytes]) -> int:
    """Return the number of rows, in one quick pass and constant memory.

    Raises:
        BadFile: the file cannot be read to its end.
    """
    with read_rows(file) as rows:
        return sum(1 for _ in rows)


def _check_head(head: bytes) -> None:
    if not head:
        raise BadFile(f"This file is empty: 0 bytes. Export it again. {WANTED}")
    for beginning, what in NOT_CSV.items():
        if head.startswith(beginning):
            raise BadFile(f"This file is {what}, not CSV in UTF-8. {SAVE_AS_CSV}")
    # In UTF-16 without a mark, every other byte is 0. A single one is left to the row's checks.
    if head.count(0) > len(head) // 4:
        raise BadFile(f"This file is in UTF-16, or not a text file. {SAVE_AS_CSV}")


def _check_columns(found: list[str]) -> None:
    if len(found) == 1:
        for separator, name in SEPARATORS.items():
            if separator in found[0]:
                raise BadFile(f"The columns are separated by {name}. {WANTED} {SAVE_AS_CSV}")
    twice = [name for name in COLUMNS if found.count(name) > 1]
    if twice:
        raise BadFile(
            f"The first line names {', '.join(twice)} more than once, so it is not clear which"
            " column is meant. Rename or remove all but one."
        )
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        hint = "" if missing == COLUMNS else f" Missing: {', '.join(missing)}."
        raise BadFile(f"{WANTED}{hint}")


def _rows(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not empty, and the number of its first line."""
    while True:
        first = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadFile(_broken(first, reader.line_num, error)) from None
        if reader.line_num - first >= MOST_LINES:
            raise BadFile(_broken(first, reader.line_num, "a value has too many lines"))
        if any(value.strip() for value in values):
            yield first, values


def _broken(first: int, last: int, what: object) -> str:
    where = f"Line {first:,}" if first >= last else f"Lines {first:,} to {last:,}"
    return (
        f"{where}: invalid CSV ({what}). Is a quote missing, or is a quote inside a value not"
        f' doubled ("")? See line {first:,}.'
    )


def _as_row(columns: list[str], values: list[str]) -> dict[str | None, Any]:
    row: dict[str | None, Any] = dict(zip(columns, values, strict=False))
    if len(values) != len(columns):
        row[None] = values[len(columns) :]
    return row
