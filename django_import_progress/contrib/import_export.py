"""django-import-export: a resource's imports report themselves, and the admin shows the bar."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.signing import BadSignature, TimestampSigner
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext
from import_export.admin import ImportMixin
from import_export.resources import Resource
from import_export.results import Result
from tablib import Dataset

from ..conf import settings
from ..core.errors import ImportCancelled, ImportSuperseded
from ..core.keys import JobId
from ..tracker import ImportTracker

CHECKING, ROWS, COMMITTING = "checking", "rows", "committing"
"""The stages: of a dry run, and of an import, whose status says already that it is importing."""

CONFLICT = 409


class ProgressResourceMixin(Resource):  # type: ignore[misc]  # It has no types.
    """Mix it into a resource: ``class ProductResource(ProgressResourceMixin, ModelResource)``.

    Each row counts, as what has become of it too: ``new``, ``update``, ``delete``, ``skip``,
    ``error``, ``invalid``. An import whose result has errors has failed.
    """

    _job: ImportTracker | None = None

    def import_data(
        self,
        dataset: Dataset,
        dry_run: bool = False,
        *args: Any,
        progress_job: JobId | None = None,
        progress_owner: Any = None,
        **kwargs: Any,
    ) -> Result:
        """Import, and report it: see `import_export.resources.Resource.import_data`.

        One that is cancelled is rolled back where it uses a transaction, and gives a result with
        an error.

        Args:
            dataset: the rows.
            dry_run: whether to check only.
            args: as import-export has them.
            progress_job: the job's id; a UUID4 where not given.
            progress_owner: the job's owner: a user, or a primary key.
            kwargs: as import-export has them.

        Raises:
            ImportSuperseded: another attempt has taken the job meanwhile.
        """
        result = None
        self._job = job = ImportTracker(
            progress_job or uuid.uuid4(),
            total=len(dataset),
            owner=progress_owner,
            stage=CHECKING if dry_run else ROWS,
        )
        try:
            with job:
                result = super().import_data(dataset, dry_run, *args, **kwargs)
                is_strict = dry_run or kwargs.get("rollback_on_validation_errors", False)
                if problem := _problem_of(result, is_strict):
                    raise ValidationError(problem)
        except ValidationError:
            if result is None:
                raise
        finally:
            self._job = None
        if result is None:
            result = self.get_result_class()()
            cancelled = ImportCancelled(gettext("Cancelled"))
            result.append_base_error(self.get_error_result_class()(cancelled))
        return result

    def import_row(self, row: Any, instance_loader: Any, **kwargs: Any) -> Any:
        """Import one row, and count it."""
        row_result = super().import_row(row, instance_loader, **kwargs)
        if self._job is not None:
            self._job.count(row_result.import_type)
            self._job.advance()
        return row_result

    def after_import(self, dataset: Dataset, result: Result, **kwargs: Any) -> None:
        """Tell that all rows are through. Call it where you override it."""
        super().after_import(dataset, result, **kwargs)
        if self._job is not None and not kwargs.get("dry_run"):
            self._job.set(stage=COMMITTING)


class ProgressImportMixin(ImportMixin):  # type: ignore[misc]
    """Mix it into an admin: ``class ProductAdmin(ProgressImportMixin, ModelAdmin)``.

    Its page shows a bar while the request runs that checks, or imports. Its resources are to have
    `ProgressResourceMixin`. A template of your own extends ours.
    """

    import_template_name = "django_import_progress/import_export/import.html"

    def create_import_form(self, request: HttpRequest) -> Form:
        """Return the form, with a job for what it will begin."""
        return _with_job(super().create_import_form(request), request)

    def create_confirm_form(self, request: HttpRequest, import_form: Form | None = None) -> Form:
        """Return the form, with a job for what it will begin."""
        return _with_job(super().create_confirm_form(request, import_form), request)

    def get_import_data_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        """Hand the form's job on to the resource."""
        form, request = kwargs.get("form"), kwargs.get("request")
        data: dict[str, Any] = super().get_import_data_kwargs(**kwargs)
        if form is not None and request is not None:
            data["progress_job"] = form.cleaned_data.get("progress_job")
            data["progress_owner"] = request.user
        return data

    def import_action(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        """Answer 409 to a form that was sent twice, the second time of which counts."""
        try:
            answer: HttpResponse = super().import_action(request, **kwargs)
        except ImportSuperseded:
            answer = HttpResponse(status=CONFLICT)
        return answer

    def process_import(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        """Do the same."""
        try:
            answer: HttpResponse = super().process_import(request, **kwargs)
        except ImportSuperseded:
            answer = HttpResponse(status=CONFLICT)
        return answer

    def add_success_message(self, result: Result, request: HttpRequest) -> None:
        """Say so where there is no success."""
        if not result.base_errors:
            super().add_success_message(result, request)
        for error in result.base_errors:
            messages.error(request, str(error.error))


class _JobField(forms.CharField):
    """A new job's id, signed for one user; another one each time that the form is shown."""

    widget = forms.HiddenInput

    def __init__(self, user_key: Any) -> None:
        self.job_id = str(uuid.uuid4())
        self._signer = TimestampSigner(salt=f"django_import_progress.import_export:{user_key}")
        super().__init__(required=False, initial=self._signer.sign(self.job_id))

    def bound_data(self, data: Any, initial: Any) -> Any:
        return initial

    def clean(self, value: Any) -> str | None:
        try:
            return self._signer.unsign(value or "", max_age=settings.ticket_seconds)
        except BadSignature:
            return None  # Nobody watches it, but it is no reason not to import.


def _with_job(form: Form, request: HttpRequest) -> Form:
    form.fields["progress_job"] = _JobField(request.user.pk)
    return form


def _problem_of(result: Result, is_strict: bool) -> str:
    """Return in import-export's own words why nothing was, or will be, imported; or nothing."""
    if result.has_errors():
        return gettext("Errors")
    if is_strict and result.has_validation_errors():
        return gettext("Some rows failed to validate")
    return ""
