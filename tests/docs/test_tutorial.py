"""The tutorial, from its first command to its last: threads, Celery, cancelling, permissions."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from ..kit.processes import RedisProcess
from ..kit.project import Project
from ..kit.walkthrough import walk_through

PAGE = "docs/tutorial.md"

BEGINNING = """
from pathlib import Path
from django.contrib.auth.models import User
from django.test import Client
from django.test.utils import setup_test_environment
from django_import_progress import get_sync_progress_manager

setup_test_environment()
jobs = get_sync_progress_manager()

def visitor(name):
    client = Client()
    client.force_login(User.objects.get_or_create(username=name)[0])
    return client

ann, bob = visitor("ann"), visitor("bob")

def uploaded(name):
    with open(name, "rb") as file:
        page = ann.post("/", {"file": file}, follow=True)
    return page.request["PATH_INFO"], page.context["upload"].job_id
"""

IN_A_THREAD = (
    BEGINNING
    + """
lines = Path("products.csv").read_text().splitlines(keepends=True)
Path("few.csv").write_text("".join(lines[:41]))
Path("broken.csv").write_text("".join(lines[:2]) + "P9,Product 9,much\\n")
assert len(lines) == 10_001
assert Client().get("/").url == "/admin/login/?next=/"
assert 'name="file"' in ann.get("/").content.decode()

def ended(name, status):
    path, job_id = uploaded(name)
    *_, last = jobs.watch(job_id)
    assert last["status"] == status, last
    return path, job_id, last

path, job_id, last = ended("few.csv", "done")
assert (last["processed_rows"], last["total_rows"], last["created"]) == (40, 40, 40), last
assert f'data-job="{job_id}"' in ann.get(path).content.decode()
assert ended("few.csv", "done")[2]["updated"] == 40
assert ended("broken.csv", "failed")[2]["processed_rows"] == 1

assert bob.get(path).status_code == 200  # The last section changes that.
assert bob.get(f"/progress/jobs/{job_id}/").status_code == 404
assert ann.get(f"/progress/jobs/{job_id}/").json()["status"] == "done"
"""
)

BY_CELERY = (
    BEGINNING
    + """
path, job_id = uploaded("products.csv")
for snapshot in jobs.watch(job_id):
    if snapshot.get("processed_rows"):
        break
assert "import-progress-button" in ann.get(path).content.decode()
assert bob.get(path).status_code == 404
cancel = f"/progress/jobs/{job_id}/cancel/"
assert bob.post(cancel).status_code == 404
assert ann.post(cancel).status_code == 202
*_, last = jobs.watch(job_id)
assert (last["status"], last["total_rows"]) == ("cancelled", 10_000), last
assert 0 < last["processed_rows"] < 10_000, last
"""
)


def test_the_tutorial(tmp_path: Path, server: RedisProcess) -> None:
    project = Project(tmp_path, server.url)
    for name, value in (("USERNAME", "admin"), ("EMAIL", "a@example.org"), ("PASSWORD", "secret")):
        project.environment[f"DJANGO_SUPERUSER_{name}"] = value

    def walk(*sections: str) -> None:
        for section in sections:
            walk_through(project, PAGE, section, servers)

    with ExitStack() as servers:
        walk("1. Create a project", "2. Add models and a file to import")
        walk("3. Track an import in a thread")
        project.script(IN_A_THREAD)
    with ExitStack() as servers:
        walk("4. Move the import to Celery", "5. Add a cancel button")
        walk("6. Restrict who can watch")
        project.script(BY_CELERY)
