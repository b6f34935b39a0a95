"""The history in the Django admin: what it shows, to whom, and what it costs."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.storage import Storage
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_import_progress import SyncProgressManager
from django_import_progress.history import owners
from django_import_progress.history.models import ImportRun, Status

from ..faults.conftest import defence
from ..kit.admin import ADMIN, add_admin
from ..kit.controls import without
from ..kit.processes import RedisProcess
from ..kit.proxy import Proxy
from ..kit.recorded import begin_and_die, expire_lease, the_run
from ..kit.runs import REPORT, STARTED, past_run
from ..kit.tracked import JOB

__all__ = ["defence"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("archived")]

ADMIN_MODULE = "django_import_progress.history.admin"
"""It can be imported once the admin is among the apps."""
MODEL = "import_progress_history_importrun"
MANY = 100_000


@pytest.fixture(autouse=True)
def _admin(settings: Any, monkeypatch: pytest.MonkeyPatch, jobs: SyncProgressManager) -> None:
    add_admin(settings)
    settings.ROOT_URLCONF = "tests.site.themed.plain"
    history_admin = import_module(ADMIN_MODULE)
    monkeypatch.setattr(history_admin, "_lost_check", history_admin._LostCheck())


@pytest.fixture
def visitor() -> Client:
    """A browser in which an administrator is logged in."""
    client = Client()
    client.force_login(User.objects.create_user(**ADMIN))
    return client


def url_of(page: str, *arguments: Any) -> str:
    return reverse(f"admin:{MODEL}_{page}", args=arguments)


def listed(visitor: Client, **query: Any) -> str:
    return visitor.get(url_of("changelist"), query).content.decode()


def jobs_of(visitor: Client, **query: Any) -> set[str]:
    """Return the ids of the jobs that the list has."""
    response = visitor.get(url_of("changelist"), query)
    return {run.job_id for run in response.context_data["cl"].result_list}  # type: ignore[attr-defined]


def code_of(visitor: Client, url: str) -> int:
    response = visitor.get(url)
    response.close()
    return response.status_code


def cells(html: str) -> list[str]:
    """Return the texts of the cells of the list, without those that have elements."""
    return re.findall(r"<td[^>]*>([^<]*)</td>", html)


def shown(visitor: Client, run: ImportRun) -> str:
    return visitor.get(url_of("change", run.pk)).content.decode()


def test_unfinished_imports_have_bars_and_others_words(
    visitor: Client, jobs: SyncProgressManager
) -> None:
    jobs.create("running", data={"status": "importing", "total_rows": 4, "processed_rows": 1})
    past_run("running", status="running", ended_at=None)
    past_run("forgotten", status="running", ended_at=None, processed_rows=5)
    for status in (Status.LOST, Status.SUPERSEDED, Status.CANCELLED):
        past_run(status, status=status, label="")
    past_run("partly", outcome="partial", total_rows=None, processed_rows=1234)
    html = listed(visitor)
    assert html.count("<import-progress ") == 2
    assert 'value="25.0"' in html
    assert 'value="50.0"' in html
    for text in (
        "Lost",
        "Superseded",
        "Cancelled",
        "Partly imported",
        "1,234",
        "10 of 10",
        "0:01:01",
    ):
        assert text in cells(html)
    assert ">lost</a>" in html


def test_a_label_is_text(visitor: Client, jobs: SyncProgressManager) -> None:
    evil = "<script>evil</script>"
    run = past_run(label=evil, owner=evil, stage=evil, counters={evil: 1}, snapshot={evil: evil})
    running = past_run("b", status="running", ended_at=None, label=evil, error_message=evil)
    for html in (listed(visitor), shown(visitor, run), shown(visitor, running)):
        assert evil not in html
        assert "&lt;script&gt;evil" in html


def test_the_page_of_a_job_has_its_attempts(visitor: Client) -> None:
    first = past_run(status="failed", error_message="Row 3: no price.")
    last = past_run(
        attempt=2, counters={"created": 12345}, rejected_rows=2, report=REPORT, outcome="partial"
    )
    past_run("another", attempt=3)
    past_run(namespace="order_imports", attempt=4)
    html = shown(visitor, last)
    for text in ("created: 12,345", "Partly imported", "Failed"):
        assert text in html
    assert html.count('<th scope="row">') == 2
    assert f'<a href="{url_of("change", first.pk)}">1</a>' in html
    assert '<strong aria-current="page">2</strong>' in html
    assert f'<a href="{url_of("report", last.pk)}" download' in html
    assert "Row 3: no price." in shown(visitor, first)


def test_owners_have_names(visitor: Client) -> None:
    bessie = User.objects.create_user("bessie")
    for owner in (bessie.pk, "7777", "no number", str(10**30), None):
        past_run(f"job-{owner}", owner=owner)
    html = listed(visitor)
    for text in ("bessie", "7777", "no number", str(10**30), "-"):
        assert text in cells(html)
    run = ImportRun.objects.get(owner=str(bessie.pk))
    assert "bessie" in shown(visitor, run)
    assert jobs_of(visitor, q="essi") == {run.job_id}
    assert jobs_of(visitor, q="7777") == {"job-7777"}
    assert jobs_of(visitor, q="no num") == {"job-no number"}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"status__exact": "failed"}, {"a"}),
        ({"outcome": "partial"}, {"b"}),
        ({"kind": "export"}, {"c"}),
        ({"started_at__gte": "2026-06-01 00:00:00+00:00"}, {"d"}),
        ({"kind": "unknown"}, set()),
        ({"q": "Price"}, {"b"}),
        ({"q": "product"}, {"c", "a", "d"}),
        ({}, {"a", "b", "c", "d"}),
    ],
)
def test_filters_and_search(visitor: Client, query: dict[str, str], found: set[str]) -> None:
    past_run("a", status="failed")
    past_run("b", outcome="partial", label="New prices")
    past_run("c", kind="export")
    past_run("d", started_at=STARTED.replace(month=7))
    assert jobs_of(visitor, **query) == found


def test_nothing_can_be_changed(visitor: Client) -> None:
    run = past_run(label="Kept")
    for page, arguments in (("add", []), ("delete", [run.pk]), ("change", [run.pk])):
        assert visitor.post(url_of(page, *arguments), {"label": "New"}).status_code == 403
    delete = {"action": "delete_selected", "_selected_action": run.pk, "post": "yes"}
    visitor.post(url_of("changelist"), delete)
    run.refresh_from_db()
    assert run.label == "Kept"


def reports_are_for_everyone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{ADMIN_MODULE}.ImportRunAdmin.has_view_permission", lambda *_: True)


def permitted(monkeypatch: pytest.MonkeyPatch, *codenames: str) -> Client:
    """Return the browser of a staff user with these permissions on imports."""
    # The tests' database has no rows for permissions.
    names = {f"import_progress_history.{name}_importrun" for name in codenames}
    monkeypatch.setattr(User, "has_perm", lambda self, name, obj=None: name in names)
    client = Client()
    client.force_login(User.objects.create_user("bessie", is_staff=True))
    return client


@without(reports_are_for_everyone)
def test_pages_and_reports_need_a_permission(monkeypatch: pytest.MonkeyPatch, defence: Any) -> None:
    run = past_run(rejected_rows=1, report=REPORT)
    urls = [url_of("changelist"), url_of("change", run.pk), url_of("report", run.pk)]
    anonymous, nobody = Client(), permitted(monkeypatch)
    assert [code_of(anonymous, url) for url in urls] == [302, 302, 302]
    assert [code_of(nobody, url) for url in urls] == [403, 403, 403]


def test_a_report_is_downloaded(visitor: Client) -> None:
    run = past_run(rejected_rows=1, report=REPORT)
    response = visitor.get(url_of("report", run.pk))
    assert b"".join(response.streaming_content) == REPORT  # type: ignore[attr-defined]
    response.close()
    assert response["Content-Disposition"] == f'attachment; filename="rejected-{JOB}.csv"'
    assert url_of("report", run.pk) in listed(visitor)


def test_a_storage_that_is_unavailable_asks_to_come_back(visitor: Client) -> None:
    run = past_run(rejected_rows=1, report=REPORT)
    Path(run.report.path).unlink()
    Path(run.report.path).mkdir()  # Neither missing nor readable.
    assert visitor.get(url_of("report", run.pk)).status_code == 503


def test_without_a_file_there_is_no_report(visitor: Client) -> None:
    without_report = past_run("a", rejected_rows=1234)
    missing = past_run("b", rejected_rows=1, report=REPORT)
    storage: Storage = missing.report.storage
    storage.delete(str(missing.report.name))
    for key in (without_report.pk, missing.pk, 0, "no number"):
        assert visitor.get(url_of("report", key)).status_code == 404
    html = listed(visitor)
    assert url_of("report", without_report.pk) not in html
    assert "1,234" in cells(html)


def cancel(visitor: Client, *runs: ImportRun) -> str:
    """Cancel imports, and return the messages."""
    data = {"action": "cancel_imports", "_selected_action": [run.pk for run in runs]}
    html = visitor.post(url_of("changelist"), data, follow=True).content.decode()
    return html.partition('class="messagelist"')[2].partition("</ul>")[0]


def is_cancelling(jobs: SyncProgressManager, job_id: str) -> bool:
    return bool(jobs.describe(job_id)["cancelling"])  # type: ignore[index]


def unfinished(job_id: str, **fields: Any) -> ImportRun:
    return past_run(job_id, status="running", ended_at=None, **fields)


def test_many_imports_are_cancelled_at_once(visitor: Client, jobs: SyncProgressManager) -> None:
    orders = SyncProgressManager(jobs.redis, namespace="order_imports")
    jobs.create("a", data={"status": "importing"})
    orders.create("b")
    jobs.create("faster", data={"status": "done"})
    text = cancel(
        visitor,
        unfinished("a"),
        unfinished("b", namespace="order_imports"),
        unfinished("faster"),
        unfinished("forgotten"),
        past_run("ended"),
    )
    assert "Cancellation of 2 imports was requested." in text
    assert "2 imports had ended already." in text
    assert "1 import cannot be cancelled" in text
    assert is_cancelling(jobs, "a")
    assert is_cancelling(orders, "b")


def authorize_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cancel(job_id: str, *, user: Any, manager: Any) -> Any:
        return True, await manager.request_cancel(job_id)

    monkeypatch.setattr(f"{ADMIN_MODULE}.cancel", cancel)


@without(authorize_is_not_asked)
def test_authorize_is_asked_for_each_import(
    visitor: Client, jobs: SyncProgressManager, settings: Any, defence: Any
) -> None:
    asked = []

    def only_a(user: Any, job: Any, action: str) -> bool:
        asked.append((user.username, job.job_id, action))
        return job.job_id == "a" or action == "watch"

    settings.IMPORT_PROGRESS = {**settings.IMPORT_PROGRESS, "AUTHORIZE": only_a}
    jobs.create("a")
    jobs.create("b")
    text = cancel(visitor, unfinished("a"), unfinished("b"))
    assert "Cancellation of 1 import was requested." in text
    assert "1 import cannot be cancelled: you are not allowed to" in text
    assert not is_cancelling(jobs, "b")
    assert ("admin", "b", "cancel") in asked


def every_viewer_may_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{ADMIN_MODULE}.ImportRunAdmin.has_cancel_permission", lambda *_: True)


@without(every_viewer_may_cancel)
def test_viewers_cannot_cancel(
    monkeypatch: pytest.MonkeyPatch, jobs: SyncProgressManager, defence: Any
) -> None:
    jobs.create("a")
    run = unfinished("a")
    viewer = permitted(monkeypatch, "view")
    assert "cancel_imports" not in listed(viewer)
    cancel(viewer, run)
    assert not is_cancelling(jobs, "a")


def test_who_may_change_imports_may_cancel_them(
    monkeypatch: pytest.MonkeyPatch, jobs: SyncProgressManager
) -> None:
    jobs.create("a")
    assert "Cancellation of 1 import" in cancel(permitted(monkeypatch, "change"), unfinished("a"))


@pytest.fixture
def proxy(site: RedisProcess, settings: Any) -> Any:
    with Proxy(site.port) as proxy:
        settings.IMPORT_PROGRESS = {"REDIS_URL": proxy.url}
        yield proxy


def test_without_redis_the_pages_are_shown(
    visitor: Client, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    run = unfinished("a")
    with proxy.refusing():
        assert "<import-progress " in listed(visitor)
        assert "Cannot look for lost imports" in caplog.text
        assert "<import-progress " in shown(visitor, run)
        assert "Redis is unavailable" in cancel(visitor, run)


def test_an_import_of_another_namespace_is_live_if_it_has_urls(
    visitor: Client, jobs: SyncProgressManager
) -> None:
    orders = SyncProgressManager(jobs.redis, namespace="order_imports")
    orders.create("a", data={"total_rows": 4, "processed_rows": 1})
    run = unfinished("a", namespace="order_imports")
    other = unfinished("a", namespace="elsewhere")
    for html in (listed(visitor), shown(visitor, run)):
        assert "/orders/" in html
        assert 'value="25.0"' in html
    assert listed(visitor).count("<import-progress ") == 1
    assert "Running" in shown(visitor, other)


def status_of(jobs: SyncProgressManager, job_id: str) -> Any:
    return jobs.describe(job_id)["status"]  # type: ignore[index]


def looks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{ADMIN_MODULE}._LostCheck.run_if_due", lambda self: None)


def looks_at_each_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{ADMIN_MODULE}.LOST_CHECK_SECONDS", -1.0)


@pytest.mark.usefixtures("history")
@without(looks_for_nothing, looks_at_each_page)
def test_opening_the_list_ends_lost_imports_once_a_minute(
    visitor: Client, jobs: SyncProgressManager, defence: Any
) -> None:
    for job_id in ("first", "second"):
        begin_and_die(job_id)
        expire_lease(jobs, 601, job_id)
        assert the_run(job_id).status == "running"
        listed(visitor)
    assert (the_run("first").status, status_of(jobs, "first")) == ("lost", "failed")
    assert the_run("second").status == "running"


def test_a_database_that_is_locked_only_delays_the_look(
    visitor: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Locked(CaptureQueriesContext):
        def __call__(self, execute: Any, sql: str, *rest: Any) -> Any:
            if "DISTINCT" in sql:  # The look begins with this query.
                raise OperationalError("database is locked")
            return execute(sql, *rest)

    past_run()
    with connection.execute_wrapper(Locked(connection)):
        assert ">Products</a>" in listed(visitor)
    assert "Cannot look for lost imports (OperationalError)" in caplog.text


def multiply(run: ImportRun) -> None:
    """Have as many runs, of other jobs, in all statuses."""
    table = ImportRun._meta.db_table
    columns = {field.column: field.column for field in ImportRun._meta.local_concrete_fields}
    del columns["id"]
    statuses = " ".join(f"WHEN {n} THEN '{status}'" for n, status in enumerate(Status))
    columns |= {
        "job_id": "'job' || n",
        "status": f"CASE n % {len(Status)} {statuses} END",
        "owner": "n % 500",
    }
    one = "VALUES(1) UNION ALL"
    numbers = f"WITH RECURSIVE c(n) AS ({one} SELECT n + 1 FROM c WHERE n < {MANY})"  # noqa: S608
    rows = f"SELECT {', '.join(columns.values())} FROM {table}, c WHERE id = {run.pk}"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(f"{numbers} INSERT INTO {table} ({', '.join(columns)}) {rows}")


def each_owner_takes_a_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{ADMIN_MODULE}._OWNERS", "_another")
    monkeypatch.setattr(owners.Owners, "name", lambda self, owner: User.objects.filter(pk=owner))


def each_bar_takes_a_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{ADMIN_MODULE}.ImportRunAdmin.read_progress", lambda self, rows: None)


@without(each_owner_takes_a_query, each_bar_takes_a_query)
def test_a_page_of_many_takes_two_queries_and_no_sorting(
    visitor: Client, jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch, defence: Any
) -> None:
    multiply(past_run())
    monkeypatch.setattr(f"{ADMIN_MODULE}._lost_check._due", float("inf"))
    for query in ({}, {"status__exact": "failed"}, {"status__exact": "running"}, {"p": "1000"}):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            html = listed(visitor, **query)
        assert html.count('name="_selected_action"') == 50
        selects = [each["sql"] for each in queries if "django_session" not in each["sql"]]
        [_, *selects] = selects  # The user who is logged in.
        assert len(selects) == 3
        count, rows, names = selects
        assert "COUNT(*)" in count
        assert "auth_user" in names
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {rows}")
            assert "TEMP B-TREE" not in str(cursor.fetchall())
