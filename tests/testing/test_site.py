"""Views, streams, WebSockets, tags and Celery tasks in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, signals
from celery.contrib.testing.worker import start_worker
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser, User
from django.template import Context, Template
from django.test import AsyncClient, Client

from django_import_progress import get_sync_progress_manager, track_import
from django_import_progress.access import make_ticket
from django_import_progress.contrib.celery import ImportTask
from django_import_progress.testing import RecordedImports

from ..site.asgi import application

pytestmark = pytest.mark.django_db


def _path(job_id: str, action: str = "") -> str:
    return f"/progress/jobs/{make_ticket(job_id)}/{action}"


def test_json_and_the_report(import_progress: RecordedImports, client: Client) -> None:
    with track_import("job", total=2) as job:
        for row in job.rows(["a", "b"]):
            assert client.get(_path("job")).json()["processed_rows"] == (row == "b")
        job.reject(["x"], "Bad.", line=3)
    assert client.get(_path("job")).json()["outcome"] == "partial"
    report = client.get(_path("job", "rejects/"))
    assert b"".join(report).decode("utf-8-sig").splitlines()[1] == "3,3,Bad.,x"  # type: ignore[arg-type]


async def test_an_event_stream(import_progress: RecordedImports, async_client: AsyncClient) -> None:
    async with track_import("job") as job:
        response: Any = await async_client.get(_path("job", "stream/"))
        frames = aiter(response.streaming_content)
        text = ""
        while '"importing"' not in text:
            text += (await anext(frames)).decode()
        job.advance(2)
    async for frame in frames:
        text += frame.decode()
    assert '"processed_rows":2' in text.replace(" ", "")
    assert "event: end" in text


def test_cancelling_by_a_view(import_progress: RecordedImports, client: Client) -> None:
    user = User.objects.create_user("owner")
    client.force_login(user)
    with track_import("job", owner=user) as job:
        for _ in job.rows(range(3)):
            assert client.post("/progress/jobs/job/cancel/").status_code == 202
    assert import_progress["job"].status == "cancelled"
    assert import_progress["job"].fields["processed_rows"] == 1


async def test_a_websocket(import_progress: RecordedImports) -> None:
    get_sync_progress_manager().create("job")
    path = f"/ws/progress/jobs/{make_ticket('job')}/"
    origin = [(b"origin", b"http://testserver"), (b"host", b"testserver")]
    socket = WebsocketCommunicator(application, path, headers=origin)
    assert (await socket.connect())[0]
    assert json.loads(await socket.receive_from())["status"] == "queued"
    async with track_import("job"):
        assert json.loads(await socket.receive_from())["status"] == "importing"
    assert json.loads(await socket.receive_from())["status"] == "done"
    await socket.disconnect()


def test_a_tag(import_progress: RecordedImports) -> None:
    template = Template("{% load import_progress %}{% import_progress job_id %}")
    user = User.objects.create_user("owner", is_staff=True)
    with track_import("job", total=4) as job:
        job.advance(3)
        html = template.render(Context({"job_id": "job", "user": user}))
    assert 'data-status="importing"' in html
    assert "75" in html
    assert str(AnonymousUser()) not in html


@pytest.fixture
def app() -> Iterator[Celery]:
    """An app whose tasks run at once."""
    with Celery(broker="memory://", set_as_current=False) as app:
        app.conf.update(task_always_eager=True, task_store_eager_result=False)
        yield app


def test_an_eager_task(import_progress: RecordedImports, app: Celery) -> None:
    @app.task(shared=False, bind=True, base=ImportTask)
    def import_all(self: Any, rows: list[int]) -> None:
        with self.track() as job:
            for _ in job.rows(rows):
                pass

    job_id = import_all.delay([1, 2]).id
    statuses = [snapshot["status"] for snapshot in import_progress[job_id].snapshots]
    assert statuses[-2:] == ["importing", "done"]
    assert import_progress[job_id].fields["processed_rows"] == 2


@pytest.mark.django_db(transaction=True)
def test_a_worker_in_a_thread(import_progress: RecordedImports) -> None:
    def keep_logging(**_: object) -> None:
        """Keep the worker from configuring the logging of this process."""

    signals.setup_logging.connect(keep_logging)
    with Celery(broker="memory://", backend="cache+memory://", set_as_current=False) as app:

        @app.task(shared=False, bind=True, base=ImportTask, name="import_in_a_thread")
        def import_all(self: Any) -> None:
            with self.track() as job:
                job.advance(3)

        with start_worker(app, perform_ping_check=False, shutdown_timeout=30):
            result = import_all.delay()
            result.get(timeout=30)
    record = import_progress[result.id]
    assert (record.status, record.fields["processed_rows"]) == ("done", 3)
    assert record.snapshots[0]["status"] == "queued"


def test_a_task_that_fails_and_is_retried(import_progress: RecordedImports, app: Celery) -> None:
    @app.task(shared=False, bind=True, base=ImportTask, autoretry_for=(OSError,), max_retries=1)
    def import_all(self: Any) -> None:
        with self.track():
            raise OSError

    job_id = import_all.apply_async(throw=False).id
    record = import_progress[job_id]
    assert (record.status, record.fields["attempt"]) == ("failed", 2)


def test_a_task_that_is_called_directly(import_progress: RecordedImports, app: Celery) -> None:
    @app.task(shared=False, bind=True, base=ImportTask)
    def import_all(self: Any) -> None:
        with self.track():
            pass

    import_all()
    [job_id] = import_progress
    assert import_progress[job_id].status == "done"
