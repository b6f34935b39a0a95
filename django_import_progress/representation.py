"""The representation of a job: the fields that viewers get, their types and meaning.

`.ci/schemas.py` makes the OpenAPI document and the TypeScript types from this file.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict


class _Computed(TypedDict):
    """The fields that every representation has."""

    job_id: Annotated[str, "The job's id, even if the request used a ticket."]
    percent: Annotated[
        float | None,
        "0 to 100 by tenths, rounded down; 100 once done; null if the total is unknown or 0.",
    ]
    stalled: Annotated[bool, "Whether the worker has been silent for too long."]
    cancelling: Annotated[bool, "Whether cancellation was requested and the job has not ended yet."]
    outcome: Annotated[
        Literal["complete", "partial", "nothing"] | None,
        "Null until the status is done; partial: some rows were rejected; nothing: no row was"
        " accepted.",
    ]


class Link(TypedDict):
    """A link to the result of a job, see `job.link`."""

    text: Annotated[str, "What the link says."]
    url: Annotated[str, "An http or https URL, or a path of the site."]


class Representation(_Computed, total=False):
    """A job as JSON, events, messages and `describe` represent it.

    Any other field that was written travels along. A program that writes to the job's hash by
    itself may store another type in a field that is not required.
    """

    status: Annotated[str, "Free text; done, failed and cancelled end a job."]
    stage: Annotated[str | None, "What the job is doing, for its viewers."]
    total_rows: Annotated[int | None, "How many rows there are; null if unknown."]
    processed_rows: Annotated[int, "How many rows have been processed, rejected ones included."]
    rejected_rows: Annotated[int, "How many rows were rejected."]
    error_message: Annotated[str | None, "Why the job failed, for its viewers."]
    label: Annotated[str | None, "The title of the bar."]
    kind: Annotated[str, "import, export or task; selects the wording."]
    link: Annotated[
        Link | None,
        "A link to the result. Check the URL before you show it: it may be of another program.",
    ]
    updated_at: Annotated[str, "When the snapshot was last written (ISO 8601, UTC)."]
    queued_at: Annotated[str | None, "When the job was created (ISO 8601, UTC)."]
    started_at: Annotated[str | None, "When the current attempt began (ISO 8601, UTC)."]
    ended_at: Annotated[str | None, "When the job ended (ISO 8601, UTC)."]
    attempt: Annotated[int, "The number of the current attempt, from 1."]
    rows_per_second: Annotated[float | None, "The current rate; null while no worker is importing."]
    eta_seconds: Annotated[float | None, "The time left; null while no worker is importing."]
    expired: Annotated[bool, "True if only the outcome of the job is left; otherwise missing."]
