"""django-import-export: the progress of a resource's import, and the admin."""

from __future__ import annotations

import concurrent.futures
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import tablib
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from django_import_progress import ImportSuperseded, SyncProgressManager, track_import
from django_import_progress.contrib import import_export
from tests.faults.conftest import defence

from ..kit.admin import ADMIN, add_admin
from ..kit.controls import without
from ..kit.tracked import JOB, shows, state
from ..kit.waiting import wait_for

__all__ = ["defence"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def groups(jobs: SyncProgressManager, settings: Any) -> Iterator[Any]:
    """The admin's module; it can be imported once the admin is installed."""
    add_admin(settings)
    from ..site import groups

    yield groups
    groups.GroupResource.before_each = staticmethod(lambda resource, number: None)


def dataset(*names: str) -> tablib.Dataset:
    return tablib.Dataset(*((name,) for name in names), headers=["name"])


def run(groups: Any, *names: str, **options: Any) -> Any:
    """Import groups of these names."""
    return groups.GroupResource().import_data(dataset(*names), progress_job=JOB, **options)


def test_an_import_counts_its_rows_by_result(groups: Any, jobs: SyncProgressManager) -> None:
    Group.objects.create(name="b")

    def before(resource: Any, number: int) -> None:
        if number == 2:
            shows(jobs, stage="rows", processed_rows=1, total_rows=2)

    groups.GroupResource.before_each = staticmethod(before)
    assert not run(groups, "a", "b", progress_owner=7).has_errors()
    ended = state(jobs)
    assert (ended["status"], ended["stage"]) == ("done", "committing")
    assert (ended["processed_rows"], ended["new"], ended["update"]) == (2, 1, 1)
    assert [job["job_id"] for job in jobs.jobs(owner=7)] == [JOB]


def test_a_dry_run_is_a_stage_of_its_own(groups: Any, jobs: SyncProgressManager) -> None:
    run(groups, "a", dry_run=True)
    assert (state(jobs)["status"], state(jobs)["stage"]) == ("done", "checking")
    assert not Group.objects.exists()


def test_without_an_id_it_has_one_of_its_own(groups: Any, jobs: SyncProgressManager) -> None:
    groups.GroupResource().import_data(dataset("a"))
    [job] = jobs.jobs()
    assert job["status"] == "done"


@pytest.mark.parametrize(
    ("name", "options", "status", "message"),
    [
        ("broken", {}, "failed", "Errors"),
        ("invalid", {"dry_run": True}, "failed", "Some rows failed to validate"),
        (
            "invalid",
            {"rollback_on_validation_errors": True, "use_transactions": True},
            "failed",
            "Some rows failed to validate",
        ),
        ("invalid", {}, "done", None),
    ],
)
def test_errors_in_the_result_are_a_failure_where_nothing_is_imported(
    groups: Any,
    jobs: SyncProgressManager,
    name: str,
    options: dict[str, Any],
    status: str,
    message: str | None,
) -> None:
    result = run(groups, "a", name, **options)
    assert result.has_errors() or result.has_validation_errors()
    assert (state(jobs)["status"], state(jobs)["error_message"]) == (status, message)


def test_exceptions_propagate(
    groups: Any, jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get_diff_headers(self: Any) -> None:
        raise ValidationError("No header.")

    monkeypatch.setattr(groups.GroupResource, "get_diff_headers", get_diff_headers)
    with pytest.raises(ValidationError):
        run(groups, "a")
    assert (state(jobs)["status"], state(jobs)["error_message"]) == ("failed", "No header.")


def _job() -> Any:
    """Return the tracker of this thread's import."""
    return import_export._job.get()


def cancelling(jobs: SyncProgressManager) -> Any:
    """Request cancellation before the second row, and wait until the tracker knows."""

    def before(resource: Any, number: int) -> None:
        if number == 2:
            assert jobs.request_cancel(_job().job_id)
            wait_for(lambda: _job().interrupt, "the import to know")

    return staticmethod(before)


def superseding(resource: Any, number: int) -> None:
    """Start another attempt of the job."""
    with track_import(_job().job_id):
        _job().set(note="something to write")
        wait_for(lambda: _job().interrupt, "the import to know")


def test_a_cancelled_import_is_rolled_back_and_reports_it(
    groups: Any, jobs: SyncProgressManager
) -> None:
    groups.GroupResource.before_each = cancelling(jobs)
    result = run(groups, "a", "b", "c", use_transactions=True)
    assert [str(error.error) for error in result.base_errors] == ["Cancelled"]
    assert state(jobs)["status"] == "cancelled"
    assert not Group.objects.exists()


def test_a_superseded_import_raises(groups: Any, jobs: SyncProgressManager) -> None:
    groups.GroupResource.before_each = staticmethod(superseding)
    with pytest.raises(ImportSuperseded):
        run(groups, "a", "b")


class Visitor:
    """A user that imports in the admin by its forms."""

    def __init__(self, **fields: Any) -> None:
        self.client = Client(enforce_csrf_checks=True)
        self.client.force_login(User.objects.create(**{**ADMIN, **fields}))
        self.page = ""

    def look(self) -> str:
        self.page = self.client.get("/admin/auth/group/import/").content.decode()
        return self.page

    @property
    def fields(self) -> dict[str, str]:
        """The hidden fields of the page's form."""
        found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', self.page)
        return dict(found)

    @property
    def job_id(self) -> str:
        """The job of the page's bar."""
        [job_id] = re.findall(r'data-job="([^"]+)"', self.page)
        return job_id

    def upload(self, text: str, **fields: str) -> Any:
        file = SimpleUploadedFile("groups.csv", text.encode())
        data = {**self.fields, "import_file": file, "format": "0", **fields}
        return self.client.post("/admin/auth/group/import/", data)

    def confirm(self) -> Any:
        return self.client.post("/admin/auth/group/process_import/", self.fields, follow=True)


def test_in_the_admin_each_form_begins_the_job_that_its_page_shows(
    jobs: SyncProgressManager,
) -> None:
    visitor = Visitor()
    visitor.look()
    checking = visitor.job_id
    visitor.page = visitor.upload("name\na\nb\n").content.decode()
    assert "Confirm import" in visitor.page
    importing = visitor.job_id
    assert "2 new" in visitor.confirm().content.decode()
    stages = [(job["job_id"], job["status"], job["stage"]) for job in jobs.jobs()]
    assert stages == [(importing, "done", "committing"), (checking, "done", "checking")]
    assert Group.objects.count() == 2


def test_a_form_that_is_shown_again_has_another_job(jobs: SyncProgressManager) -> None:
    visitor = Visitor()
    visitor.look()
    first = visitor.job_id
    visitor.page = visitor.upload("name\nbroken\n").content.decode()
    assert "This row breaks." in visitor.page
    assert visitor.job_id != first
    visitor.upload("name\na\n")
    assert [job["status"] for job in jobs.jobs()] == ["done", "failed"]


def test_cancelled_in_the_admin_it_is_no_success(groups: Any, jobs: SyncProgressManager) -> None:
    visitor = Visitor()
    visitor.look()
    visitor.page = visitor.upload("name\na\nb\nc\n").content.decode()
    groups.GroupResource.before_each = cancelling(jobs)
    answer = visitor.confirm().content.decode()
    assert "Cancelled" in answer
    assert "Import finished" not in answer


def test_of_a_form_that_is_sent_twice_the_second_counts(
    groups: Any, jobs: SyncProgressManager
) -> None:
    visitor = Visitor()
    visitor.look()
    groups.GroupResource.before_each = staticmethod(superseding)
    assert visitor.upload("name\na\n").status_code == 409
    groups.GroupResource.before_each = staticmethod(lambda resource, number: None)
    visitor.page = visitor.upload("name\na\n").content.decode()
    groups.GroupResource.before_each = staticmethod(superseding)
    assert visitor.confirm().status_code == 409


def takes_any_job(monkeypatch: pytest.MonkeyPatch) -> None:
    from django_import_progress.contrib.import_export import _JobField

    monkeypatch.setattr(_JobField, "clean", lambda field, value: value.partition(":")[0])


@without(takes_any_job)
@pytest.mark.parametrize("field", ["forged", None])
def test_a_job_that_is_not_the_pages_is_not_taken(
    jobs: SyncProgressManager, field: str | None
) -> None:
    """`None`: another user's."""
    visitor, other = Visitor(), None
    visitor.look()
    if field is None:
        field = visitor.fields["progress_job"]
        other = visitor.job_id
        visitor = Visitor(username="other")
        visitor.look()
    visitor.upload("name\na\n", progress_job=field)
    [job] = jobs.jobs()
    assert job["status"] == "done"
    assert job["job_id"] not in {field, other, visitor.job_id}


def test_outside_of_an_import_hooks_are_unchanged(groups: Any) -> None:
    row = {"name": "a"}
    resource = groups.GroupResource()
    loader = resource._meta.instance_loader_class(resource, dataset("a"))
    assert resource.import_row(row, loader, row_number=1).import_type == "new"
    [admin] = groups.site._registry.values()
    assert admin.get_import_data_kwargs(form=None) == {"form": None}


class _OneJob(list[Any]):
    """The tracker of the last import, in whichever thread."""

    def get(self) -> Any:
        return self[-1]

    set = list.append

    def reset(self, token: None) -> None:
        """Keep it."""


def _remembers_one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_export, "_job", _OneJob())


@without(_remembers_one_job)
def test_one_resource_in_two_threads_has_two_bars(groups: Any, jobs: SyncProgressManager) -> None:
    both_began = threading.Barrier(2, timeout=20)

    class Names(groups.GroupResource):  # type: ignore[misc]
        """Saves nothing: SQLite would keep one thread waiting for the other."""

        def get_or_init_instance(self, instance_loader: Any, row: Any) -> tuple[Group, bool]:
            both_began.wait()
            return Group(), True

        def save_instance(self, *args: Any, **kwargs: Any) -> None:
            """Nothing."""

        def after_import(self, dataset: Any, result: Any, **kwargs: Any) -> None:
            super().after_import(dataset, result, **kwargs)
            both_began.wait()

    resource, rows = Names(), {"few": "abc", "many": "def"}

    def imported(job_id: str) -> None:
        names = dataset(*rows[job_id])
        resource.import_data(names, progress_job=job_id, use_transactions=False)

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        list(threads.map(imported, rows))
    for job_id in rows:
        ended = jobs.get_progress(job_id)
        assert ended is not None
        assert (ended["status"], ended["processed_rows"], ended.get("new")) == ("done", 3, 3)


NO_ADMIN = """
import django
from django.conf import settings

settings.configure(INSTALLED_APPS=["django_import_progress", "import_export"])
django.setup()
from django_import_progress.contrib.import_export import ProgressResourceMixin
from import_export.resources import Resource

class Products(ProgressResourceMixin, Resource):
    pass
"""


def test_without_the_admin_resources_can_be_imported() -> None:
    subprocess.run([sys.executable, "-c", NO_ADMIN], check=True)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(ImportError, match="ProgressMixin"):
        from django_import_progress.contrib.import_export import ProgressMixin  # noqa: F401
