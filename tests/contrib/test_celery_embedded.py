"""Celery's messages and the progress of its tasks on the embedded server."""

from __future__ import annotations

from typing import Any

from kombu import Connection

from django_import_progress import embedded_url, get_sync_progress_manager

from ..kit.embedded import short_folder, stop, url_of
from ..kit.waiting import wait_for
from ..kit.workers import CeleryWorker
from ..site import tasks


def test_a_worker_needs_no_other_server(settings: Any) -> None:
    with short_folder() as place:
        folder = place / "a project"
        settings.IMPORT_PROGRESS = {"REDIS_URL": url_of(folder)}
        broker = embedded_url(folder, scheme="redis+socket")
        jobs = get_sync_progress_manager()
        with (
            CeleryWorker("prefork", broker, url_of(folder)) as worker,
            Connection(broker) as sender,
        ):
            worker.wait_until_ready()
            job = tasks.import_rows.apply_async([3], queue="prefork", connection=sender).id
            wait_for(lambda: (jobs.get_progress(job) or {}).get("status") == "done", "the import")
        stop(folder)
