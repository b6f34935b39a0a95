"""Files of airports, and imports of them."""

from __future__ import annotations

import csv
import io

from airports.importer import COLUMNS, run_import
from airports.models import Import
from django.contrib.auth.models import User
from django.core.files.base import ContentFile

from django_import_progress import get_sync_progress_manager

ZURICH = {
    "icao": "LSZH",
    "iata": "ZRH",
    "name": "Zürich Airport",
    "city": "Zürich",
    "subd": "Zurich",
    "country": "CH",
    "elevation": "1416",
    "lat": "47.4647",
    "lon": "8.5492",
    "tz": "Europe/Zurich",
    "lid": "",
}


def as_csv(*rows: dict[str, str], columns: list[str] = COLUMNS) -> bytes:
    """Return a file of these rows."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def numbered(count: int, **values: str) -> list[dict[str, str]]:
    """Return as many different airports."""
    return [{**ZURICH, "icao": f"X{number:03}", "iata": "", **values} for number in range(count)]


def stored(content: bytes, owner: User | None = None) -> Import:
    """Return an import whose file waits to be read."""
    import_ = Import(owner=owner)
    import_.file.save("some.csv", ContentFile(content))
    return import_


def imported(content: bytes) -> Import:
    """Return an import that went through."""
    import_ = stored(content)
    run_import(import_)
    import_.refresh_from_db()
    return import_


def reasons(import_: Import) -> dict[int, str]:
    """Return why which lines were rejected."""
    rejects = get_sync_progress_manager().rejects(import_.pk)
    return {reject["line"]: reject["reason"] for reject in rejects}
