"""Progress bars in the Django admin, in changelists and change forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.contrib import admin
from django.forms import Media
from django.forms.widgets import Script
from django.http import HttpRequest, HttpResponse
from django.template.context import Context
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from .widget.context import bar_context
from .widget.page_texts import TextsAsset
from .widget.prefetch import READS, PageReads

STYLE_SHEET = "django_import_progress/import-progress.css"
SCRIPT: Any = Script("django_import_progress/import-progress.js", type="module")
"""Django's own kind of asset: only to these the admin adds the page's nonce."""
TEXTS: Any = TextsAsset()
_PAGE = "_import_progress_page"
"""The attribute of a changelist's row that holds its `_Page`."""


class _Page:
    """The rows of a changelist. Their jobs are read together when the first bar is rendered.

    Args:
        read: reads the jobs.
    """

    def __init__(self, read: Callable[[], PageReads]) -> None:
        self._read = read
        self._reads: PageReads | None = None

    def reads(self) -> PageReads:
        """Return the jobs, which the first call reads."""
        if self._reads is None:
            self._reads = self._read()
        return self._reads


class ProgressAdminMixin:
    """Adds ``import_progress`` to a `ModelAdmin`, as a column and a read-only field.

    ::

        @admin.register(Upload)
        class UploadAdmin(ProgressAdminMixin, admin.ModelAdmin):
            list_display = ["file", "import_progress"]
            readonly_fields = ["import_progress"]

    Everyone who can open the page may watch its jobs.

    Source: https://docs.djangoproject.com/en/stable/ref/contrib/admin/
    """

    progress_job_field = "job_id"
    """The model's field or property that holds the job's id; empty if there is no job."""
    progress_namespace: str | None = None
    """The jobs' namespace, if it is not the one in the settings."""

    @admin.display(description=gettext_lazy("Progress"))
    def import_progress(self, obj: Any) -> SafeString | str:
        """Return the bar of the object's job as HTML; one line in a changelist."""
        return self.progress_bar(obj, self.progress_namespace)

    def progress_bar(self, obj: Any, namespace: str | None) -> SafeString | str:
        """Return the same for a job of another namespace."""
        job_id = getattr(obj, self.progress_job_field, None)
        if not job_id:
            return ""
        page = getattr(obj, _PAGE, None)
        context = Context({} if page is None else {READS: page.reads()})
        bar = bar_context(
            context,
            job_id,
            label=str(obj),
            namespace=namespace,
            compact=page is not None,
        )
        return render_to_string("django_import_progress/bar.html", bar)

    def read_progress(self, rows: Sequence[Any]) -> PageReads:
        """Read the jobs of a changelist's rows, in one round trip."""
        reads = PageReads()
        job_ids = (getattr(row, self.progress_job_field, None) for row in rows)
        reads.read(filter(None, job_ids), self.progress_namespace)
        return reads

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Return the changelist, with its rows prepared for reading their jobs together."""
        response: HttpResponse = super().changelist_view(  # type: ignore[misc]
            request, extra_context
        )
        # A redirect, as after an action, has no changelist.
        changelist = (getattr(response, "context_data", None) or {}).get("cl")
        if changelist is not None:
            rows = changelist.result_list
            page = _Page(partial(self.read_progress, rows))
            for row in rows:
                setattr(row, _PAGE, page)
        return response

    @property
    def media(self) -> Media:
        """Return the assets of the admin and of the bars."""
        own: Media = super().media  # type: ignore[misc]
        return own + Media(css={"all": [STYLE_SHEET]}, js=[SCRIPT, TEXTS])
