"""Import a CSV file into the database in batches, with live progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import airportsdata
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from django_import_progress import track_import
from django_import_progress.tracker import ImportTracker

from .models import Airport, Import
from .reading import COLUMNS, BadFile, Line, count_rows, read_rows

BATCH_ROWS = 500
KEPT_REFUSALS = 100
SAMPLE = Path(airportsdata.__file__).with_name("airports.csv")

T = TypeVar("T")


def run_import(import_: Import, track: Callable[..., ImportTracker] | None = None) -> None:
    """Import the file of `import_`; the job has the same id.

    Each batch is a transaction of its own: readers never wait long for a writer, and batches
    before a failure stay. The file can simply be imported again: existing rows are updated.

    Args:
        import_: the import.
        track: a task passes its own `track`, which also handles retries and time limits.
    """
    track = track or partial(track_import, import_.pk)
    # `expose`: the message of a bad file is for the user. Other errors are shown as a neutral
    # sentence, and logged.
    with (
        track(owner=import_.owner_id, stage="counting rows", expose=BadFile) as job,
        import_.file.open("rb") as file,
    ):
        job.total = count_rows(file)
        job.set(stage=None)
        _begin(import_)
        with read_rows(file) as rows:
            for batch in job.batches(in_batches(rows, BATCH_ROWS)):
                created, updated, refused = _import_batch(import_, batch)
                job.count("created", created)
                job.count("updated", updated)
                job.count("refused", refused)
        # Inside the `with` block: once the job is done, the result is in the database.
        import_.finished_at = timezone.now()
        import_.save()


def _begin(import_: Import) -> None:
    """Reset the counters: an earlier attempt may have counted."""
    import_.rows_created = import_.rows_updated = import_.rows_refused = 0
    import_.refused = []


def _import_batch(import_: Import, batch: list[Line]) -> tuple[int, int, int]:
    """Save the valid rows; return how many were created, updated and refused."""
    # Validated before the transaction, so that other writers do not wait.
    valid, refused = validate(batch)
    codes = {airport.icao for airport in valid}
    with transaction.atomic():
        known = Airport.objects.filter(icao__in=codes).count()
        Airport.objects.bulk_create(
            # PostgreSQL refuses to update a row twice in one statement: the last one wins.
            {airport.icao: airport for airport in valid}.values(),
            update_conflicts=True,
            unique_fields=["icao"],
            update_fields=[name for name in COLUMNS if name != "icao"],
        )
        created = len(codes) - known
        updated = len(valid) - created
        import_.rows_created += created
        import_.rows_updated += updated
        import_.rows_refused += len(refused)
        import_.refused = (import_.refused + refused)[:KEPT_REFUSALS]
        import_.save()
    return created, updated, len(refused)


def validate(batch: Iterable[Line]) -> tuple[list[Airport], list[dict[str, object]]]:
    """Return the airports of the valid rows, and the line and reason of each invalid row."""
    valid, refused = [], []
    for line, row in batch:
        try:
            valid.append(to_airport(row))
        except ValidationError as error:
            refused.append({"line": line, "reason": _reason(error)})
    return valid, refused


def to_airport(row: dict[str | None, Any]) -> Airport:
    """Return an unsaved airport.

    Raises:
        ValidationError: the row is invalid.
    """
    if None in row:
        raise ValidationError("The row has more or fewer values than the first line has columns.")
    airport = Airport(**{name: row[name].strip() for name in COLUMNS})
    airport.clean_fields()  # Not `full_clean`, which queries the database for each row.
    return airport


def _reason(error: ValidationError) -> str:
    if not hasattr(error, "error_dict"):
        return " ".join(error.messages)
    return " ".join(
        f"{name}: {' '.join(messages)}" for name, messages in error.message_dict.items()
    )


def in_batches(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Yield lists of up to `size` items (Python 3.12 has `itertools.batched`)."""
    while batch := list(islice(items, size)):
        yield batch
