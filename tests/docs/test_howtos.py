"""The how-to guides, each followed to the letter in a new project."""

from __future__ import annotations

from subprocess import CalledProcessError

import django
import pytest

from ..kit.commandlines import module, only_line
from ..kit.project import Project

STARTED = """
from django.test import Client
from django.test.utils import setup_test_environment
from django_import_progress import get_sync_progress_manager

setup_test_environment()
jobs = get_sync_progress_manager()

def begun():
    page = Client().post("/import/").content.decode()
    [job] = jobs.jobs(limit=1)
    assert f'data-job="{job["job_id"]}"' in page, page
    return job["job_id"]

def moves_and_is_cancelled(job_id):
    for snapshot in jobs.watch(job_id):
        if snapshot.get("processed_rows"):
            jobs.request_cancel(job_id)
    assert snapshot["status"] == "cancelled", snapshot
    assert snapshot["total_rows"] == 300, snapshot
"""


A_GROUP = """
import re
page = Client().post("/group/").content.decode()
both = re.findall('data-job="(.*?)"', page)
assert len(both) == 2, page
for job_id, total in zip(both, (100, 200)):
    *_, last = jobs.watch(job_id)
    assert (last["status"], last["processed_rows"]) == ("done", total), last
"""

FROM_AN_API = """
from django.contrib.auth.models import User
assert Client().post("/api/imports/").status_code == 403
client = Client()
client.force_login(User.objects.create_user("ann"))
answer = client.post("/api/imports/")
assert answer.status_code == 202, answer.content
url, job_id = answer.json()["progress"], answer.json()["job_id"]
assert answer["Location"] == url
moves_and_is_cancelled(job_id)
assert Client().get(url).json()["status"] == "cancelled"  # The URL suffices.
assert Client().get(f"/progress/jobs/{job_id}/").status_code == 404
assert b"cancelled" in Client().get(f"{url}stream/").content
"""


def test_celery(project: Project) -> None:
    page, views = "docs/task-queues.md", project.folder / "products/views.py"
    project.follow(page, "Celery, with `ImportTask`")
    project.follow(page, "Start an import from an API")
    with_import_task = views.read_text()
    project.follow(page, "Celery, without `ImportTask`")
    worker = [*module(only_line(page, "celery")), "--pool", "solo"]
    with project.started(worker, lambda log: " ready." in log):  # It serves all of them.
        project.script(STARTED + "moves_and_is_cancelled(begun())")
        views.write_text(with_import_task)
        project.script(STARTED + "moves_and_is_cancelled(begun())")
        project.script(STARTED + A_GROUP)
        project.script(STARTED + FROM_AN_API)


def test_testing(project: Project) -> None:
    page = "docs/testing.md"
    project.follow("docs/task-queues.md", "Celery, with `ImportTask`")
    project.follow(page)
    project.environment["REDIS_URL"] = "redis://127.0.0.1:1/0"  # No server listens there.
    program, *arguments = module(only_line(page, "python manage.py"))
    project.run("-W", "error::ResourceWarning", program, *arguments)
    command = module(only_line(page, "pytest"))
    project.run(*command, "-W", "error::ResourceWarning", "-n", "2")
    with pytest.raises(CalledProcessError):
        project.run(*command, "-p", "no:import_progress")


def test_djangos_own_tasks(project: Project) -> None:
    before = {} if django.VERSION >= (6, 0) else {"django_tasks": "django.tasks"}
    project.follow("docs/task-queues.md", "Django tasks", **before)
    worker = only_line("docs/task-queues.md", "python manage.py db_worker")
    project.migrate()
    with project.started(module(worker), lambda log: "Starting worker" in log):
        project.script(STARTED + "moves_and_is_cancelled(begun())")


THREE_AT_ONCE = """
three = [begun() for _ in range(3)]
from products.imports import pool
for snapshot in jobs.watch(three[1]):
    if snapshot.get("processed_rows"):
        break
assert jobs.get_progress(three[2])["status"] == "queued"
for job_id in three:
    moves_and_is_cancelled(job_id)
"""


def test_plain_threads(project: Project) -> None:
    project.follow("docs/threads.md")
    project.script(STARTED + THREE_AT_ONCE)


SWAPPED = """
job_id = jobs.create("prices", data={"processed_rows": 3})
page = Client().get("/").content.decode()
assert "htmx" in page and 'hx-post="/products/"' in page, page
bar = Client().post("/products/").content.decode()
assert 'hx-trigger="import-progress:end"' in bar and "<import-progress" in bar, bar
jobs.update(job_id, {"status": "done"})
assert Client().get("/results/prices/").content == b"3 rows: done"
[running] = [job["job_id"] for job in jobs.jobs() if job["job_id"] != job_id]
moves_and_is_cancelled(running)
"""


def test_htmx(project: Project) -> None:
    project.follow("docs/htmx.md")
    project.script(STARTED + SWAPPED)


IN_THE_ADMIN = """
from django.contrib.auth.models import User
from django.core.management import call_command
from products.models import Upload

call_command("makemigrations", "products", verbosity=0)
call_command("migrate", verbosity=0)
client = Client()
client.force_login(User.objects.create_superuser("admin"))
upload = Upload.objects.create(file="prices.csv", job_id=jobs.create())
Upload.objects.create(file="none.csv")
for place in ("", f"{upload.pk}/change/"):
    page = client.get(f"/admin/products/upload/{place}").content.decode()
    assert page.count("<import-progress ") == 1, page
page = client.get("/admin/import_progress_history/importrun/").content.decode()
assert page.count("<import-progress ") == 1, page
"""


def test_the_admin(project: Project) -> None:
    project.follow("docs/history.md", "Install it")
    project.follow("docs/admin.md")
    project.script(STARTED + IN_THE_ADMIN)


MEASURED = """
job_id = begun()
page = Client().get("/metrics/")
assert page["Content-Type"].startswith("text/plain"), page
assert "import_progress_imports 1.0" in page.content.decode(), page.content
import os
os.environ["METRICS_PORT"] = "0"  # any that is free
from mysite.celery import serve_metrics
serve_metrics()
moves_and_is_cancelled(job_id)
"""


def test_metrics(project: Project) -> None:
    project.follow("docs/metrics.md")
    project.script(STARTED + MEASURED)


TOLD = """
import asyncio
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from mysite.asgi import application

client = Client()
client.force_login(User.objects.create_superuser("admin"))
cookie = client.cookies["sessionid"].value

async def follow():
    headers = [(b"cookie", f"sessionid={cookie}".encode()), (b"host", b"testserver"),
               (b"origin", b"http://testserver")]
    socket = WebsocketCommunicator(application, "/ws/imports/", headers)
    assert (await socket.connect(timeout=10))[0]
    job_id = await sync_to_async(begun)()
    told = {}
    while not told.get("processed_rows"):
        told = await socket.receive_json_from(timeout=20)
    assert told["job_id"] == job_id and told["total_rows"] == 300, told
    await sync_to_async(jobs.request_cancel)(job_id)
    while told["status"] != "cancelled":
        told = await socket.receive_json_from(timeout=20)
    await socket.disconnect()

asyncio.run(follow())
"""


def test_channels(project: Project) -> None:
    project.follow("docs/channels.md")
    relay = module(only_line("docs/channels.md", "python manage.py import_progress relay"))
    with project.started(relay, bool):
        project.script(STARTED + TOLD)


WATCHED = """
import asyncio
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django_import_progress.access import make_ticket
from mysite.asgi import application

async def follow(job_id):
    path = f"/ws/progress/jobs/{make_ticket(job_id)}/"
    socket = WebsocketCommunicator(application, path, [(b"host", b"localhost")])
    assert (await socket.connect(timeout=10))[0]
    assert (await socket.receive_json_from(timeout=10))["job_id"] == job_id
    await sync_to_async(jobs.request_cancel)(job_id)
    while (await socket.receive_json_from(timeout=20))["status"] != "cancelled":
        pass
    await socket.wait()

asyncio.run(follow(begun()))
"""


def test_the_websocket_routes_of_the_reference(project: Project) -> None:
    project.follow("docs/reference.md")
    project.script(STARTED + WATCHED)
