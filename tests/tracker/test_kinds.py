"""Label, kind and link of a tracked job, and its sentences for the end user."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from django_import_progress import (
    InvalidProgress,
    NotTracking,
    SyncProgressManager,
    TooManyRejects,
    track_import,
)

from ..kit.tracked import JOB, state


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Make `track_import` write to the test's server."""


def test_label_and_kind_are_stored_and_win_over_those_of_create(jobs: SyncProgressManager) -> None:
    jobs.create(JOB, data={"label": "old.csv", "kind": "import"})
    with track_import(JOB):
        pass
    assert (state(jobs)["label"], state(jobs)["kind"]) == ("old.csv", "import")
    with track_import(JOB, label="new.csv", kind="export"):
        pass
    assert (state(jobs)["label"], state(jobs)["kind"]) == ("new.csv", "export")


@pytest.mark.parametrize("wrong", [{"label": 5}, {"kind": b"export"}])
def test_label_and_kind_must_be_texts(wrong: Any) -> None:
    with pytest.raises(InvalidProgress, match="pass a text"):
        track_import(JOB, **wrong)


def test_a_link_is_stored(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        job.link("Download", "/exports/1.csv")
        with pytest.raises(ValueError, match="Invalid URL"):
            job.link("Download", "javascript:alert(1)")
    assert state(jobs)["link"] == {"text": "Download", "url": "/exports/1.csv"}
    with pytest.raises(NotTracking):
        job.link("Download", "/exports/2.csv")


def test_another_attempt_starts_without_the_link(jobs: SyncProgressManager) -> None:
    jobs.create(JOB, data={"link": {"text": "Download", "url": "/exports/1.csv"}})
    with track_import(JOB):
        pass
    assert state(jobs).get("link") is None


def message(jobs: SyncProgressManager) -> str:
    return str(state(jobs)["error_message"])


@pytest.mark.parametrize("kind", ["export", "task"])
def test_sentences_name_the_kind(jobs: SyncProgressManager, kind: str) -> None:
    with pytest.raises(RuntimeError), track_import(JOB, kind=kind):
        raise RuntimeError
    assert message(jobs).startswith(f"The {kind} failed. Please give this number")
    with track_import(JOB, kind=kind) as job:
        job.fail("")
    assert message(jobs).startswith(f"The {kind} failed. Please give this number")
    with pytest.raises(TooManyRejects), track_import(JOB, kind=kind, max_rejects=0) as job:
        job.reject({}, "no")
    assert message(jobs) == f"The {kind} was stopped because more than 0 rows were rejected."


@pytest.mark.django_db(transaction=True)
def test_a_rollback_names_the_kind(jobs: SyncProgressManager) -> None:
    with transaction.atomic():
        with track_import(JOB, kind="export"):
            pass
        transaction.set_rollback(True)
    assert state(jobs)["error_message"] == "The export was rolled back."
