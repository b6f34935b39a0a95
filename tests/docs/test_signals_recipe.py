"""The page on the signal, followed to the letter in a new project."""

from __future__ import annotations

from ..kit.project import Project

IMPORTS = """
from django.core import mail
from django.test.utils import override_settings, setup_test_environment
from django_import_progress import track_import

setup_test_environment()  # keeps what is mailed
with track_import("good", total=2, owner=7) as job:
    list(job.rows("ab"))
with override_settings(ADMINS=[("A", "admin@example.org")]):
    try:
        with track_import("bad"):
            raise ValueError
    except ValueError:
        pass
assert [message.subject for message in mail.outbox] == ["[Django] Import bad has failed"]
"""


def test_failures_are_mailed(project: Project) -> None:
    project.follow("docs/signals.md")
    project.run("manage.py", "shell", "-c", IMPORTS)
