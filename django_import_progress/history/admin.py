"""The history in the Django admin: read-only, with live bars, reports and cancellation."""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import Error
from django.db.models import QuerySet
from django.forms import Media
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, path, reverse
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from ..admin import ProgressAdminMixin
from ..conf import settings
from ..core.errors import HistoryUnavailable, ProgressUnavailable
from ..kinds import kind_of
from ..service.registry import get_guarded_manager
from ..web.cancel import cancel
from ..web.rejects import file_response
from ..widget.context import APP_NAME
from ..widget.phrases import outcomes
from ..widget.prefetch import PageReads
from ..widget.text import duration_of
from .lost import end_lost_jobs
from .models import ENDED, ImportRun
from .owners import Owners, owners_named
from .reading import report, shown

logger = logging.getLogger("django_import_progress")

LOST_CHECK_SECONDS = 60.0
"""How often opening the list looks for jobs whose workers were lost, at most."""
MOST_ATTEMPTS = 100
"""How many attempts the page of a job lists: the last ones."""
KINDS = {
    "import": pgettext_lazy("noun", "Import"),
    "export": pgettext_lazy("noun", "Export"),
    "task": pgettext_lazy("noun", "Task"),
}
OUTCOMES = {
    "complete": _("Complete"),
    "partial": _("Partly imported"),
    "nothing": _("Nothing imported"),
}

_OWNERS = "_import_progress_owners"
"""The attribute of a list's row that holds the `Owners` of all its rows."""
STYLE_SHEET = "django_import_progress/history-admin.css"


class _ChoiceFilter(admin.SimpleListFilter):
    """A filter with fixed choices: it takes no query to list the values of the column."""

    choices_of: dict[str, Any]

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Return the choices."""
        return self.choices_of.items()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any] | None:
        """Return the rows with the chosen value."""
        value = self.value()
        return None if value is None else queryset.filter(**{str(self.parameter_name): value})


class KindFilter(_ChoiceFilter):
    """Filters by kind."""

    title, parameter_name, choices_of = _("kind"), "kind", KINDS


class OutcomeFilter(_ChoiceFilter):
    """Filters by outcome."""

    title, parameter_name, choices_of = _("outcome"), "outcome", OUTCOMES


@admin.register(ImportRun)
class ImportRunAdmin(ProgressAdminMixin, admin.ModelAdmin):  # type: ignore[type-arg]
    """The admin of `ImportRun`. Nothing can be changed; running imports can be cancelled.

    To cancel imports, a user needs the permission to change them, and `AUTHORIZE` has to allow it
    for each of them.
    """

    list_display = ("__str__", "progress", "rows", "rejects", "took", "owner_name", "started_at")
    list_filter = ("status", OutcomeFilter, KindFilter, "started_at")
    search_fields = ("job_id", "label", "=owner")
    sortable_by = ("started_at",)
    show_full_result_count = False
    list_per_page = 50
    actions = ("cancel_imports",)
    fieldsets = (
        (None, {"fields": ("progress", "label", "job_id", "kind", "owner_name", "attempts")}),
        (_("Rows"), {"fields": ("rows", "counts", "rejects", "stage", "error_message")}),
        (_("Times"), {"fields": ("queued_at", "started_at", "ended_at", "took")}),
        (_("Details"), {"fields": ("namespace", "attempt", "fields_of_the_job")}),
    )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: runs are recorded, not made."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: the history is read-only."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: `manage.py import_progress prune` deletes old runs."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user may view or change imports."""
        return self._has_perm(request, "view") or self.has_cancel_permission(request)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may cancel imports: with the permission to change them."""
        return self._has_perm(request, "change")

    def _has_perm(self, request: HttpRequest, action: str) -> bool:
        meta = self.opts
        return bool(request.user.has_perm(f"{meta.app_label}.{action}_{meta.model_name}"))

    @admin.display(description=_("progress"))
    def progress(self, run: ImportRun) -> SafeString | str:
        """Return a live bar, or how the run has ended."""
        if run.status in ENDED or not _has_urls(run):
            return _end_of(run)
        return self.import_progress(run)

    @admin.display(description=_("rows"))
    def rows(self, run: ImportRun) -> str:
        """Return how many rows were processed, and of how many."""
        processed = _number(run.processed_rows)
        if run.total_rows is None:
            return processed
        total = _number(run.total_rows)
        return gettext("%(processed)s of %(total)s") % {"processed": processed, "total": total}

    @admin.display(description=_("rejected"))
    def rejects(self, run: ImportRun) -> SafeString | str:
        """Return how many rows were rejected, as a link to their report if there is one."""
        if not run.rejected_rows:
            return self.get_empty_value_display()
        count = _number(run.rejected_rows)
        if not run.report:
            return count
        text = gettext("Download the rejected rows")
        url = reverse(self._url_name("report"), args=[run.pk])
        return format_html('<a href="{}" download title="{}">{}</a>', url, text, count)

    @admin.display(description=_("owner"))
    def owner_name(self, run: ImportRun) -> str:
        """Return the name of the user who owns the job, else the owner as it was recorded."""
        if not run.owner:
            return self.get_empty_value_display()
        owners: Owners = getattr(run, _OWNERS, None) or Owners([run])
        return owners.name(run.owner)

    @admin.display(description=_("took"))
    def took(self, run: ImportRun) -> str:
        """Return how long the run took."""
        if run.started_at is None or run.ended_at is None:
            return self.get_empty_value_display()
        return duration_of(max(run.ended_at - run.started_at, timedelta()))

    @admin.display(description=_("counters"))
    def counts(self, run: ImportRun) -> str:
        """Return the counters of the import."""
        counts = (f"{name}: {_number(n)}" for name, n in run.counters.items())
        return ", ".join(counts) or self.get_empty_value_display()

    @admin.display(description=_("fields"))
    def fields_of_the_job(self, run: ImportRun) -> SafeString:
        """Return the last snapshot as JSON."""
        return format_html(
            '<pre class="import-progress-fields">{}</pre>',
            json.dumps(run.snapshot, indent=2, ensure_ascii=False),
        )

    @admin.display(description=_("attempts"))
    def attempts(self, run: ImportRun) -> SafeString:
        """Return the table of all attempts at the job, the last one first."""
        runs = ImportRun.objects.filter(namespace=run.namespace, job_id=run.job_id)
        attempts = [
            {
                "number": each.attempt,
                "url": reverse(self._url_name("change"), args=[each.pk]),
                "is_shown": each.pk == run.pk,
                "status": _end_of(each),
                "rows": self.rows(each),
                "rejects": self.rejects(each),
                "started_at": each.started_at,
                "took": self.took(each),
            }
            for each in runs.order_by("-attempt")[:MOST_ATTEMPTS]
        ]
        return render_to_string(
            "django_import_progress/admin/attempts.html", {"attempts": attempts}
        )

    @property
    def media(self) -> Media:
        """Return the assets of the admin, of the bars and of the table of attempts."""
        return super().media + Media(css={"all": [STYLE_SHEET]})

    def _url_name(self, name: str) -> str:
        meta = self.opts
        return f"{self.admin_site.name}:{meta.app_label}_{meta.model_name}_{name}"

    def import_progress(self, obj: Any) -> SafeString | str:
        """Return the bar of the run's job: see `ProgressAdminMixin`."""
        return self.progress_bar(obj, _namespace_of(obj))

    def read_progress(self, rows: Sequence[Any]) -> PageReads:
        """Read the jobs of the unfinished runs of a page, in one round trip a namespace."""
        by_namespace = defaultdict(list)
        for run in rows:
            if run.status not in ENDED and _has_urls(run):
                by_namespace[run.namespace].append(run)
        reads = PageReads()
        for namespace, runs in by_namespace.items():
            reads.read((run.job_id for run in runs), namespace, {r.job_id: shown(r) for r in runs})
        return reads

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Return the list of runs. Jobs whose workers were lost are ended first."""
        _lost_check.run_if_due()
        response = super().changelist_view(request, extra_context)
        changelist = (getattr(response, "context_data", None) or {}).get("cl")
        if changelist is not None:
            owners = Owners(changelist.result_list)
            for run in changelist.result_list:
                setattr(run, _OWNERS, owners)
        return response

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ImportRun], search_term: str
    ) -> tuple[QuerySet[ImportRun], bool]:
        """Search the names of owners as well."""
        found, has_duplicates = super().get_search_results(request, queryset, search_term)
        if search_term and (owners := owners_named(search_term)):
            found |= queryset.filter(owner__in=owners)
        return found, has_duplicates

    def get_urls(self) -> list[Any]:
        """Return the URLs of the admin, and that of a run's report."""
        name = self._url_name("report").split(":")[1]
        view = self.admin_site.admin_view(self.report_view)
        return [path("<path:object_id>/report/", view, name=name), *super().get_urls()]

    def report_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Respond with the rejected rows of a run as CSV."""
        run = self.get_object(request, object_id)
        if not self.has_view_permission(request, run):
            raise PermissionDenied
        if run is None:
            raise Http404
        try:
            file = report(str(run.namespace), str(run.job_id), run.attempt)
        except HistoryUnavailable as error:
            return HttpResponse(str(error), status=503)
        if file is None:
            raise Http404
        return file_response(request, file, str(run.job_id))

    @admin.action(description=_("Cancel the selected imports"), permissions=["cancel"])
    def cancel_imports(self, request: HttpRequest, queryset: QuerySet[ImportRun]) -> None:
        """Request cancellation of those that have not ended, and say what has happened."""
        unfinished = queryset.exclude(status__in=ENDED)
        jobs = list(unfinished.values_list("namespace", "job_id"))
        ended = queryset.count() - len(jobs)
        try:
            results = async_to_sync(_cancel_all)(request.user, list(dict.fromkeys(jobs)))
        except ProgressUnavailable:
            text = gettext(
                "Redis is unavailable, so not all imports could be cancelled. Try again."
            )
            self.message_user(request, text, messages.ERROR)
            return
        for level, count, text in _reports(results, ended):
            if count:
                self.message_user(request, text % {"count": count}, level)


async def _cancel_all(user: Any, jobs: list[tuple[Any, Any]]) -> dict[str, int]:
    """Request cancellation of jobs; return how many were cancelled, had ended, or were refused."""
    results = {"cancelled": 0, "ended": 0, "refused": 0}
    for namespace, job_id in jobs:
        manager = get_guarded_manager(namespace)
        state, is_requested = await cancel(job_id, user=user, manager=manager)
        results["refused" if state is None else "cancelled" if is_requested else "ended"] += 1
    return results


def _reports(results: dict[str, int], ended: int) -> Iterable[tuple[int, int, str]]:
    """Return a message for each result: its level, a number and the text."""
    cancelled, refused, ended = results["cancelled"], results["refused"], results["ended"] + ended
    yield (
        messages.SUCCESS,
        cancelled,
        ngettext(
            "Cancellation of %(count)d import was requested.",
            "Cancellation of %(count)d imports was requested.",
            cancelled,
        ),
    )
    yield (
        messages.INFO,
        ended,
        ngettext(
            "%(count)d import had ended already.", "%(count)d imports had ended already.", ended
        ),
    )
    yield (
        messages.WARNING,
        refused,
        ngettext(
            "%(count)d import cannot be cancelled: you are not allowed to, or its worker does not"
            " respond.",
            "%(count)d imports cannot be cancelled: you are not allowed to, or their workers do not"
            " respond.",
            refused,
        ),
    )


def _end_of(run: ImportRun) -> str:
    """Return how a run stands or has ended, in words."""
    words = outcomes(kind_of({"kind": run.kind}))
    return words.get(str(run.outcome)) or capfirst(str(run.get_status_display()))


def _number(value: Any) -> str:
    return number_format(value, force_grouping=True)


def _namespace_of(run: ImportRun) -> str | None:
    """Return the namespace of a run's URLs; None for that of the settings."""
    return None if run.namespace == settings.namespace else run.namespace


def _has_urls(run: ImportRun) -> bool:
    """Return whether the site has URLs for the run's namespace, so that its bar can be live."""
    try:
        reverse(f"{_namespace_of(run) or APP_NAME}:stream", args=["job"])
    except NoReverseMatch:
        return False
    return True


class _LostCheck:
    """Looks for jobs whose workers were lost, not more often than once a minute in a process."""

    def __init__(self) -> None:
        self._due = 0.0

    def run_if_due(self) -> None:
        """Look, unless that was done lately. A failure is logged: the list is shown regardless."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + LOST_CHECK_SECONDS
        try:
            end_lost_jobs()
        except (ProgressUnavailable, Error) as error:
            logger.warning("Cannot look for lost imports (%s)", type(error).__name__)


_lost_check = _LostCheck()
