"""What is kept of a rejected row: its reason and its values, cleaned. Data never raises here."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.utils.translation import gettext

from ...core.errors import InvalidProgress
from ...core.snapshot import Fields
from ..fields import as_field
from ..user_texts import given_text

REASON_LENGTH = 500
"""Longer reasons are cut to this number of characters."""
MAX_ENTRY_BYTES = 64 * 1024
"""Of a row with more data only number, line and reason are kept."""


def reason_text(reason: object) -> str:
    """Return the reason as one line of text, or a neutral sentence if it has none.

    Args:
        reason: see `given_text`.

    Raises:
        InvalidProgress: see there.
    """
    text = " ".join(given_text(reason).encode("utf-8", "replace").decode().split())
    return text[:REASON_LENGTH] or gettext("This row was rejected.")


def row_values(row: Any, redact: Collection[str]) -> Fields:
    """Return the values of a row by column, without those in `redact`.

    The columns of a sequence are numbered from 1, as are cells for which `csv.DictReader` has no
    column. Anything but a mapping and a sequence is one value.
    """
    if isinstance(row, Mapping):
        pairs = [(str(name), value) for name, value in row.items() if name is not None]
        extra = row.get(None, ())
    elif isinstance(row, Sequence) and not isinstance(row, str | bytes | bytearray):
        pairs, extra = [], row
    else:
        pairs, extra = [], [row]
    if not isinstance(extra, list | tuple | Sequence) or isinstance(extra, str):
        extra = [extra]
    taken = {name for name, _ in pairs}
    for number, value in enumerate(extra, len(pairs) + 1):
        name = str(number)
        while name in taken:
            name += "_"
        pairs.append((name, value))
    return {_cell(name): _cell(value) for name, value in pairs if name not in redact}


def _cell(value: Any) -> Any:
    """Return a value that JSON has, and that fits into one cell."""
    try:
        field = as_field("cell", value)
    except InvalidProgress:  # Its type has no text form either.
        return f"({type(value).__name__})"
    found = None if field is None else field.value
    return json.dumps(found, ensure_ascii=False) if isinstance(found, list | dict) else found
