"""Bars in the Django admin: in a changelist, and in a change form."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.forms import Media
from django.template.context import Context
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from .widgets import assets_context, bar_context


class _Assets:
    """The style sheet and the script, as an entry of a `Media`."""

    def __html__(self) -> SafeString:
        return render_to_string("django_import_progress/assets.html", assets_context(Context()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Assets)

    def __hash__(self) -> int:
        return hash(_Assets)


class ProgressAdminMixin:
    """Gives a `ModelAdmin` a column, and a read-only field, ``import_progress``.

    ::

        @admin.register(Upload)
        class UploadAdmin(ProgressAdminMixin, admin.ModelAdmin):
            list_display = ["file", "import_progress"]
            readonly_fields = ["import_progress"]

    Whoever may see the page may watch the jobs on it.

    Source: https://docs.djangoproject.com/en/stable/ref/contrib/admin/
    """

    progress_job_field = "job_id"
    """The model's field, or property, that has the job's id; empty where there is none."""
    progress_namespace: str | None = None
    """The jobs' namespace, where it is not the setting's."""

    @admin.display(description=gettext_lazy("Progress"))
    def import_progress(self, obj: Any) -> SafeString | str:
        """Return the bar of an object's job."""
        job_id = getattr(obj, self.progress_job_field, None)
        if not job_id:
            return ""
        context = bar_context(Context(), job_id, label=str(obj), namespace=self.progress_namespace)
        return render_to_string("django_import_progress/bar.html", context)

    @property
    def media(self) -> Media:
        """Return the admin's own assets, and the bars'."""
        own: Media = super().media  # type: ignore[misc]
        assets: Any = _Assets()
        return own + Media(js=[assets])
