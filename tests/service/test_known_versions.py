"""The versions of jobs that a manager remembers."""

from __future__ import annotations

from django_import_progress.service.base import MOST_JOBS, KnownVersions

from ..kit.jobviews import stored


def test_it_remembers_the_newest_version_of_each_of_the_jobs_used_last() -> None:
    written = KnownVersions()
    assert written.note("j0", stored(2, a=1)) == {"a": 1}
    written.note("j0", stored(1))  # By a thread that was slower.
    assert written.of("j0") == (100, 2)
    for number in range(1, MOST_JOBS + 1):
        written.note(f"j{number}", stored(1))
    assert written.of("j0") is None
    assert written.of("j1") == (100, 1)
    written.forget("j1")
    written.forget("j1")
    assert written.of("j1") is None
