"""The page on the history, followed to the letter in a new project."""

from __future__ import annotations

from ..kit.project import Project

IMPORTS = """
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django_import_progress import get_sync_progress_manager, track_import
from products.housekeeping import end_what_was_lost
from products.statistics import failed_this_week, imports_of
from products.testing import wait_for_the_history

user = User.objects.create(username="u")
job_id = get_sync_progress_manager().create(owner=user)
with track_import(job_id) as job:
    for row in job.rows(["good", "bad"]):
        if row == "bad":
            job.reject(row, "It is bad.")
try:
    with track_import("failed"):
        raise ValidationError("No.")
except ValidationError:
    pass
wait_for_the_history()
[run] = imports_of(user)
assert (run.job_id, run.attempt, run.status, run.outcome) == (job_id, 1, "done", "partial")
with run.report.open() as file:
    assert b"It is bad." in file.read()
assert "/private/import_progress/" in run.report.path
assert [run.error_message for run in failed_this_week()] == ["No."]
assert end_what_was_lost() == 0
call_command("import_progress", "reconcile")
call_command("import_progress", "prune", "--older-than", "90d", "--dry-run")
"""


def test_imports_are_kept_and_found(project: Project) -> None:
    project.follow("docs/history.md")
    project.migrate()
    project.script(IMPORTS)
