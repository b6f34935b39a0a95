"""The page on django-ninja, followed to the letter in a new project."""

from __future__ import annotations

from ..kit.project import Project

A_SESSION = """
from django.contrib.auth.models import User
from django.test import Client
from django_import_progress import get_sync_progress_manager

assert Client().post("/api/imports/").status_code == 401
ann, bob = Client(), Client()
ann.force_login(User.objects.create_user("ann"))
bob.force_login(User.objects.create_user("bob"))
answer = ann.post("/api/imports/")
assert answer.status_code == 202, answer.content
job_id, url = answer.json()["job_id"], answer.json()["progress"]
assert answer["Location"] == url
assert Client().get(url).json()["job_id"] == job_id  # The URL suffices.
assert Client().get(f"/progress/jobs/{job_id}/").status_code == 404
assert [job["job_id"] for job in ann.get("/api/imports/").json()] == [job_id]
assert bob.get("/api/imports/").json() == []
assert bob.delete(f"/api/imports/{job_id}/").status_code == 404
assert ann.delete(f"/api/imports/{job_id}/").status_code == 202
*_, last = get_sync_progress_manager().watch(job_id)
assert last["status"] == "cancelled", last
assert ann.delete(f"/api/imports/{job_id}/").status_code == 404
"""


def test_a_project_that_follows_the_page_has_an_api(project: Project) -> None:
    project.follow("docs/django-ninja.md")
    settings = project.folder / "mysite/settings.py"
    settings.write_text(settings.read_text().replace("ALLOWED_HOSTS = []", 'ALLOWED_HOSTS = ["*"]'))
    project.script(A_SESSION)
