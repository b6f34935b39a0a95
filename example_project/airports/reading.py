"""Reads a CSV file row by row, and says what is wrong with one that cannot be read, and the fix."""

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
"""As many are looked at before a file is taken for text."""
MOST_LINES = 50
"""No value has so many: a quote that was opened there is closed by another one far below."""

WANTED = f"The first line must name, separated by commas: {', '.join(COLUMNS)}."
SAVE_AS_CSV = "Save it again as “CSV UTF-8 (comma delimited)”, for example in a spreadsheet."
NO_TEXT = {
    b"PK\x03\x04": "an Excel workbook (.xlsx) or another archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls)",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "compressed by gzip",
    codecs.BOM_UTF16_LE: "in UTF-16",
    codecs.BOM_UTF16_BE: "in UTF-16",
    codecs.BOM_UTF32_BE: "in UTF-32",
}
"""How files begin that are no CSV in UTF-8, whatever their names say."""
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}

Line = tuple[int, dict[str | None, Any]]
"""The number of the line in which a row begins, and the row. If it has more or fewer values than
there are columns, the key None has how many."""


class BadFile(Exception):
    """A file that cannot be read; the message tells whoever uploaded it what to do."""


@contextmanager
def read_rows(file: File[bytes]) -> Iterator[Iterator[Line]]:
    """Give the rows of a CSV file, streamed. Empty rows are skipped, those of commas only as well.

    Raises:
        BadFile: it is not one, or lacks columns. May also come while the rows are read.
    """
    file.seek(0)
    _check_head(file.read(HEAD_BYTES))
    file.seek(0)
    # "-sig": spreadsheets like to put a byte order mark at the beginning.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        # `strict`: a quote that is never closed would silently swallow the rest of the file.
        rows = _rows(csv.reader(text, strict=True))
        _, names = next(rows, (0, []))
        columns = [name.strip() for name in names]
        _check_columns(columns)
        yield ((line, _as_row(columns, values)) for line, values in rows)
    except UnicodeDecodeError:
        raise BadFile(f"This file is not in UTF-8. {SAVE_AS_CSV}") from None
    finally:
        text.detach()  # Else the wrapper would close the file, which is not ours, with itself.


def count_rows(file: File[bytes]) -> int:
    """Return how many rows there are: one quick pass, in constant memory.

    Raises:
        BadFile: the file cannot be read to its end.
    """
    with read_rows(file) as rows:
        return sum(1 for _ in rows)


def _check_head(head: bytes) -> None:
    if not head:
        raise BadFile(f"This file is empty: 0 bytes. Export it again. {WANTED}")
    for beginning, what in NO_TEXT.items():
        if head.startswith(beginning):
            raise BadFile(f"This file is {what}, and no CSV in UTF-8. {SAVE_AS_CSV}")
    # Of a text in UTF-16 without a mark every other byte is 0; a stray one is for the row's checks.
    if head.count(0) > len(head) // 4:
        raise BadFile(f"This file is in UTF-16, or no text at all. {SAVE_AS_CSV}")


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
        lacks = "" if missing == COLUMNS else f" It lacks {', '.join(missing)}."
        raise BadFile(f"{WANTED}{lacks}")


def _rows(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not empty, and the line in which it begins."""
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
        f"{where}: this is no CSV ({what}). Is a quote missing? Or is one inside a value not"
        f' doubled ("")? Look at line {first:,}.'
    )


def _as_row(columns: list[str], values: list[str]) -> dict[str | None, Any]:
    row: dict[str | None, Any] = dict(zip(columns, values, strict=False))
    if len(values) != len(columns):
        row[None] = len(values)
    return row
