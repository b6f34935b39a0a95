"""django-import-export: the admin shows the bar of what it imports."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.core.signing import BadSignature, TimestampSigner
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from import_export.admin import ImportMixin
from import_export.results import Result

from ..conf import settings
from ..core.errors import ImportSuperseded

CONFLICT = 409


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
