"""What is shown of a job that Redis has forgotten: in tags, JSON, lists and `describe`."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection
from django.template import Context, Template
from django.test import Client
from django.test.utils import CaptureQueriesContext

from django_import_progress import (
    HistoryUnavailable,
    ProgressManager,
    SyncProgressManager,
    get_progress_manager,
    track_import,
)
from django_import_progress.access import make_ticket
from django_import_progress.history import reading
from django_import_progress.history.models import ImportRun
from django_import_progress.watch import archive

from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.runs import REPORT, STARTED, past_run, without_the_table
from ..kit.tracked import JOB

__all__ = ["defence"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("archived")]

BAR = "{% load import_progress %}{% import_progress job_id %}"
ENDED = {"ended_at": None}


def rendered(job_id: str = JOB) -> str:
    return Template(BAR).render(Context({"job_id": job_id}))


def json_of(reference: str, client: Client | None = None, **headers: str) -> Any:
    return (client or Client()).get(f"/progress/jobs/{reference}/", headers=headers)


def history_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "has_to_look_up", lambda read: False)


@without(history_is_not_read)
def test_a_forgotten_job_is_shown_as_an_expired_outcome(jobs: SyncProgressManager) -> None:
    past_run(
        rejected_rows=2,
        counters={"created": 8},
        snapshot={"file_name": "ä.csv", "status": "done", "label": "All products", "created": 7},
        queued_at=STARTED - timedelta(seconds=5),
    )
    assert jobs.describe(JOB) == {
        "job_id": JOB,
        "label": "All products",
        "kind": "import",
        "created": 7,
        "file_name": "ä.csv",
        "status": "done",
        "total_rows": 10,
        "processed_rows": 10,
        "rejected_rows": 2,
        "error_message": None,
        "attempt": 1,
        "queued_at": "2026-05-01T11:59:55+00:00",
        "started_at": "2026-05-01T12:00:00+00:00",
        "ended_at": "2026-05-01T12:01:01+00:00",
        "expired": True,
        "has_report": False,
        "percent": 100.0,
        "stalled": False,
        "cancelling": False,
        "outcome": "partial",
    }
    assert jobs.get_progress(JOB) is None


def test_json_has_it_under_the_same_etag(jobs: SyncProgressManager) -> None:
    past_run()
    ticket = make_ticket(JOB)
    response = json_of(ticket)
    assert response.json() == jobs.describe(JOB)
    assert response["Cache-Control"] == "private, no-store"
    again = json_of(ticket, **{"If-None-Match": response["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("fields", "status", "notice"),
    [
        ({"status": "lost", "error_message": "Its worker died."}, "failed", ""),
        ({"status": "failed"}, "failed", ""),
        ({"status": "cancelled"}, "cancelled", ""),
        ({"status": "interrupted"}, "interrupted", ""),
        ({"status": "queued", **ENDED}, "queued", ""),
        ({"status": "running", **ENDED}, "importing", "stalled"),
        ({"status": "running", "snapshot": {"status": "parsing"}, **ENDED}, "parsing", "stalled"),
        ({"status": "running", "snapshot": {"status": "queued"}, **ENDED}, "importing", "stalled"),
        ({"status": "running", "snapshot": {"status": "done"}, **ENDED}, "importing", "stalled"),
        ({"status": "running", "snapshot": {"status": 3}, **ENDED}, "importing", "stalled"),
        ({"status": "superseded"}, "importing", "stalled"),
    ],
)
def test_a_bar_shows_each_status(
    jobs: SyncProgressManager, fields: dict[str, Any], status: str, notice: str
) -> None:
    past_run(**fields)
    html = rendered()
    assert f'data-status="{status}"' in html
    assert ('data-notice="stalled"' in html) is bool(notice)
    assert "data-waiting-seconds" not in html
    assert fields.get("error_message", "") in html


def test_the_last_attempt_counts(jobs: SyncProgressManager) -> None:
    past_run(attempt=2, processed_rows=7)
    past_run(attempt=1, status="failed", processed_rows=3)
    described = jobs.describe(JOB)
    assert described is not None
    assert (described["attempt"], described["processed_rows"]) == (2, 7)


@pytest.mark.parametrize("field", ["namespace", "job_id"])
def test_other_jobs_and_other_namespaces_are_not_shown(
    jobs: SyncProgressManager, field: str
) -> None:
    past_run(**{"job_id": JOB, field: "other"})
    assert jobs.describe(JOB) is None
    assert jobs.describe(JOB.upper()) is None


def test_what_redis_knows_comes_first(jobs: SyncProgressManager) -> None:
    past_run(status="failed")
    jobs.create(JOB)
    with CaptureQueriesContext(connection) as queries:
        assert 'data-status="queued"' in rendered()
    assert len(queries) == 0
    jobs.delete(JOB)
    assert 'data-status="gone"' in rendered()
    assert jobs.describe(JOB) is None


def finished(jobs: SyncProgressManager) -> None:
    """Run an import whose outcome alone Redis remembers."""
    jobs.create(JOB)
    with track_import(JOB) as job:
        job.advance(3)
    jobs.redis.delete(f"import_progress:hash:{JOB}")


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({}, True),
        ({"status": "failed"}, False),
        ({"started_at": STARTED}, False),
        ({"started_at": None}, False),
    ],
)
def test_a_remembered_outcome_gets_the_rest_from_the_history_if_it_is_of_the_same_end(
    jobs: SyncProgressManager, changes: dict[str, Any], is_same: bool
) -> None:
    finished(jobs)
    [record] = jobs.read([JOB])
    assert record is not None
    start = datetime.fromisoformat(record.fields["started_at"])
    past_run(**{"started_at": start, "ended_at": datetime.now(UTC), **changes})
    [found] = jobs.find([JOB])
    assert found is not None
    assert found.written == record.written
    assert found.fields.get("label") == ("Products" if is_same else None)
    with without_the_table():
        [without] = jobs.find([JOB])
    assert without is not None
    assert (without.fields, without.archived) == (record.fields, False)


def test_a_page_takes_one_query(jobs: SyncProgressManager) -> None:
    ids = [f"job{number}" for number in range(10)]
    for job_id in ids:
        past_run(job_id)
    page = (
        "{% load import_progress %}{% import_progress_prefetch ids %}"
        "{% for job_id in ids %}{% import_progress job_id %}{% endfor %}"
    )
    with CaptureQueriesContext(connection) as queries:
        html = Template(page).render(Context({"ids": [*ids, "unknown"]}))
    assert html.count('data-status="done"') == 10
    assert html.count('data-status="waiting"') == 1
    assert len(queries) == 1


def test_very_many_jobs_are_looked_up_in_several_queries(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "AT_ONCE", 2)
    for number in range(5):
        past_run(f"job{number}")
    with CaptureQueriesContext(connection) as queries:
        found = jobs.find(f"job{number}" for number in range(5))
    assert all(found)
    assert len(queries) == 3


@pytest.mark.parametrize("who", ["owner", "staff", "another", "nobody"])
def test_access_is_that_of_a_job_in_redis(jobs: SyncProgressManager, who: str) -> None:
    owner = User.objects.create_user("owner")
    past_run(owner=owner.pk)
    client = Client()
    if who != "nobody":
        user = owner if who == "owner" else User.objects.create_user(who, is_staff=who == "staff")
        client.force_login(user)
    may = who in {"owner", "staff"}
    assert json_of(JOB, client).status_code == (200 if may else 404)
    unknown = json_of("unknown", client)
    assert may or json_of(JOB, client).content == unknown.content
    assert json_of(make_ticket(JOB, owner=owner)).status_code == 200
    assert json_of(make_ticket(JOB, owner=999)).status_code == 404


def by_team(user: Any, job: Any, action: str) -> bool:
    """Allow what a field of the job says."""
    return job.snapshot is not None and job.snapshot.get("team") == "a"


def test_a_rule_gets_the_snapshot_of_the_run(jobs: SyncProgressManager, settings: Any) -> None:
    settings.IMPORT_PROGRESS = {**settings.IMPORT_PROGRESS, "AUTHORIZE": by_team}
    past_run("ours", snapshot={"team": "a"})
    past_run("theirs", snapshot={"team": "b"})
    assert json_of("ours").status_code == 200
    assert json_of("theirs").status_code == json_of("unknown").status_code == 404


def test_a_forgotten_job_cannot_be_cancelled(jobs: SyncProgressManager) -> None:
    past_run()
    past_run("running", status="running", ended_at=None)
    ticket = make_ticket(JOB, cancel=True, owner=None)
    assert Client().post(f"/progress/jobs/{ticket}/cancel/").status_code == 409
    ticket = make_ticket("running", cancel=True)
    assert Client().post(f"/progress/jobs/{ticket}/cancel/").status_code == 404


def test_while_the_history_is_unavailable_pages_show_what_redis_knows(
    jobs: SyncProgressManager, caplog: pytest.LogCaptureFixture
) -> None:
    jobs.create("known", owner=7)
    past_run(owner="7")
    page = (
        "{% load import_progress %}{% import_progress 'known' %}{% import_progress 'job' %}"
        "{% import_progress_prefetch ids %}{% import_progress_list owner=7 %}"
    )
    with without_the_table():
        html = Template(page).render(Context({"ids": ["known", "more"]}))
        assert html.count('data-status="queued"') == 2
        # Whether the job exists is unknown, so that the page waits for it.
        assert html.count('data-status="waiting"') == 1
        assert "data-waiting-seconds" not in html
        assert 'data-etag=""' in html
        assert json_of(make_ticket("known")).status_code == 200
        assert [job["job_id"] for job in jobs.jobs()] == ["known"]
        with pytest.raises(HistoryUnavailable, match="The import history is unavailable"):
            jobs.describe(JOB)
    assert caplog.text.count("The import history is unavailable (OperationalError: ") == 1
    assert jobs.describe(JOB) is not None
    with without_the_table(), pytest.raises(HistoryUnavailable):
        jobs.describe(JOB)
    assert caplog.text.count("The import history is unavailable (OperationalError: ") == 2


def test_while_the_history_is_unavailable_endpoints_ask_to_come_back(
    jobs: SyncProgressManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    owner, client = User.objects.create_user("owner"), Client()
    client.force_login(owner)
    past_run(owner=owner.pk)
    page = Template("{% load import_progress %}{% import_progress_list owner=7 %}")
    url = page.render(Context()).split('data-list="')[1].split('"', maxsplit=1)[0]
    with without_the_table():
        for path in (f"/progress/jobs/{make_ticket(JOB)}/", url):
            response = Client().get(path)
            assert (response.status_code, response["Retry-After"]) == (503, "2")
        # An error would reveal to everybody that Redis does not have the job.
        assert json_of(JOB, client).status_code == 404


async def test_async_code_may_read_it_by_either_manager(jobs: SyncProgressManager) -> None:
    await sync_to_async(past_run)()
    described = await get_progress_manager().describe(JOB)
    assert described is not None
    assert described == jobs.describe(JOB)  # In the loop's own thread.
    assert 'data-status="done"' in rendered()


def test_it_is_read_only_if_it_is_installed(jobs: SyncProgressManager) -> None:
    run = past_run(rejected_rows=1, report=REPORT)
    archive.use(None)
    with CaptureQueriesContext(connection) as queries:
        assert jobs.describe(JOB) is None
        assert jobs.jobs() == []
        assert jobs.past_report(JOB, reading.shown(run)) is None
    assert len(queries) == 0


def test_times_without_a_zone_are_the_sites(jobs: SyncProgressManager, settings: Any) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, "Europe/Zurich"
    past_run(started_at=datetime(2026, 5, 1, 14), ended_at=None)  # noqa: DTZ001 - as Django has them
    described = jobs.describe(JOB)
    assert described is not None
    assert described["started_at"] == "2026-05-01T12:00:00+00:00"


def listed(jobs: SyncProgressManager, **options: Any) -> list[str]:
    return [job["job_id"] for job in jobs.jobs(**options)]


def test_lists_have_the_newest_of_both_without_duplicates(jobs: SyncProgressManager) -> None:
    for number in range(5):
        past_run(f"past{number}", owner="7", started_at=STARTED + timedelta(hours=number))
    past_run("foreign", owner="8")
    past_run("elsewhere", owner="7", namespace="order_imports")
    past_run("past4", attempt=2, owner="7", started_at=STARTED + timedelta(hours=9))
    for job_id in ("now", "deleted", "unlisted"):
        past_run(job_id, owner="7")
        jobs.create(job_id, owner=7)
    jobs.delete("deleted")
    jobs.redis.delete(jobs.calls.keys.index("7"))
    jobs.create("newest", owner=7)
    newest_first = ["newest", "unlisted", "now", "past4", "past3", "past2", "past1", "past0"]
    assert listed(jobs, owner=7) == newest_first
    assert listed(jobs, owner=7, limit=5) == newest_first[:5]
    assert listed(jobs, owner=8) == ["foreign"]
    assert ImportRun.objects.for_owner(7).count() == 10


def test_a_list_takes_one_query_and_shows_all_bars_from_it(jobs: SyncProgressManager) -> None:
    jobs.create("now", owner=7)
    for number in range(8):
        past_run(f"past{number}", owner="7")
    tag = Template("{% load import_progress %}{% import_progress_list owner=7 limit=5 %}")
    with CaptureQueriesContext(connection) as queries:
        html = tag.render(Context())
    assert html.count("data-item=") == 5
    assert html.count('data-status="done"') == 4
    assert html.count("<bdi>Products<") == 4
    assert len(queries) == 1


def test_an_ended_job_stays_in_the_list_when_redis_forgets_it(jobs: SyncProgressManager) -> None:
    finished(jobs)
    before = listed(jobs)
    past_run(report=REPORT)
    jobs.redis.flushall()
    assert listed(jobs) == before == [JOB]


def the_loop_waits_for_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ProgressManager.__init__,
        "__kwdefaults__",
        {**(ProgressManager.__init__.__kwdefaults__ or {}), "use_archive": archive.at_once},
    )


@without(the_loop_waits_for_the_database, fails_with=(HistoryUnavailable,))
async def test_a_slow_database_does_not_block_the_event_loop(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sync_to_async(past_run)()
    locker = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    loop, query = asyncio.get_running_loop(), reading.last_runs

    def begun(*arguments: Any) -> Any:
        loop.call_soon_threadsafe(locker.close)
        return query(*arguments)

    monkeypatch.setattr(reading, "last_runs", begun)
    assert await get_progress_manager().describe(JOB)
