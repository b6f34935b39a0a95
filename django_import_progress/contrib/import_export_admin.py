"""django-import-export integration: an admin mixin that shows a progress bar."""

from __future__ import annotations

import uuid
from collections.abc import Callable
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

    The page shows a bar while the request checks or imports the file. The resources need
    `ProgressResourceMixin`. Your own template has to extend this one.
    """

    import_template_name = "django_import_progress/import_export/import.html"

    def create_import_form(self, request: HttpRequest) -> Form:
        """Return the form, with the id of the job that it will start."""
        return _with_job(super().create_import_form(request), request)

    def create_confirm_form(self, request: HttpRequest, import_form: Form | None = None) -> Form:
        """Return the form, with the id of the job that it will start."""
        return _with_job(super().create_confirm_form(request, import_form), request)

    def get_import_data_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        """Pass the form's job to the resource."""
        form, request = kwargs.get("form"), kwargs.get("request")
        data: dict[str, Any] = super().get_import_data_kwargs(**kwargs)
        if form is not None and request is not None:
            data["progress_job"] = form.cleaned_data.get("progress_job")
            data["progress_owner"] = request.user
        return data

    def import_action(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        """Respond with 409 if the form was sent again meanwhile: only the last one counts."""
        return _or_conflict(super().import_action, request, **kwargs)

    def process_import(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        """Do the same for the confirmed import."""
        return _or_conflict(super().process_import, request, **kwargs)

    def add_success_message(self, result: Result, request: HttpRequest) -> None:
        """Show the errors instead if there are any."""
        if not result.base_errors:
            super().add_success_message(result, request)
        for error in result.base_errors:
            messages.error(request, str(error.error))


def _or_conflict(view: Callable[..., Any], request: HttpRequest, **kwargs: Any) -> HttpResponse:
    try:
        response: HttpResponse = view(request, **kwargs)
    except ImportSuperseded:
        response = HttpResponse(status=CONFLICT)
    return response


class _JobField(forms.CharField):
    """The signed id of a new job, for one user; a different one each time the form is shown."""

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
            return None  # The import runs without a bar.


def _with_job(form: Form, request: HttpRequest) -> Form:
    form.fields["progress_job"] = _JobField(request.user.pk)
    return form
