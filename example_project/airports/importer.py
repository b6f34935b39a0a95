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
                created, updated = _import_batch(import_, job, batch)
                job.count("created", created)
                job.count("updated", updated)
        # Inside the `with` block: once the job is done, the result is in the database.
        import_.finished_at = timezone.now()
        import_.save()


def _begin(import_: Import) -> None:
    """Reset the counters: an earlier attempt may have counted."""
    import_.rows_created = import_.rows_updated = import_.rows_rejected = 0


def _import_batch(import_: Import, job: ImportTracker, batch: list[Line]) -> tuple[int, int]:
    """Save the valid rows; return how many were created and updated."""
    # Validated before the transaction, so that other writers do not wait.
    valid = validate(job, batch)
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
        import_.rows_rejected = job.rejected
        import_.save()
    return created, updated


def validate(job: ImportTracker, batch: Iterable[Line]) -> list[Airport]:
    """Return the airports of the valid rows, and reject the others."""
    valid = []
    for line, row in batch:
        with job.guard(row, line=line, atomic=False):  # Nothing is saved here.
            valid.append(to_airport(row))
    return valid


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


def in_batches(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Yield lists of up to `size` items (Python 3.12 has `itertools.batched`)."""
    while batch := list(islice(items, size)):
        yield batch
