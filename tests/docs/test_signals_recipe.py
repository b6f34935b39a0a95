"""The page on the signal, followed to the letter in a new project."""

from __future__ import annotations

from ..kit.project import Project

IMPORTS = """
from django.core import mail
from django.test.utils import override_settings, setup_test_environment
from django_import_progress import track_import
from products.models import EndedImport

setup_test_environment()  # keeps what is mailed
with track_import("good", total=2, owner=7) as job:
    list(job.rows("ab"))
with override_settings(ADMINS=[("A", "admin@example.org")]):
    try:
        with track_import("bad"):
            raise ValueError
    except ValueError:
        pass
good, bad = EndedImport.objects.order_by("id")
assert (good.job_id, good.attempt, good.owner, good.status) == ("good", 1, "7", "done")
assert good.snapshot["processed_rows"] == 2
assert (bad.status, bad.owner) == ("failed", None)
assert [message.subject for message in mail.outbox] == ["[Django] Import bad has failed"]
"""


def test_the_recipe_keeps_ended_imports_and_mails_of_failures(project: Project) -> None:
    project.follow("docs/signals.md")
    project.run("manage.py", "makemigrations", "--verbosity", "0", "products")
    project.migrate()
    project.run("manage.py", "shell", "-c", IMPORTS)
