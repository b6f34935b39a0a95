"""The pages."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.auth.mixins import UserPassesTestMixin
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.views.generic import DetailView, FormView, ListView, TemplateView, View
from kombu.exceptions import OperationalError

from django_import_progress import ProgressUnavailable, get_sync_progress_manager

from .forms import ImportForm, SearchForm
from .models import Airport, Import
from .tasks import queue_import

RECENT = 10


class ImportCreate(FormView):
    """Start an import."""

    form_class = ImportForm
    template_name = "airports/home.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the recent imports."""
        recent = Import.objects.visible_to(self.request.user)[:RECENT]
        return super().get_context_data(recent=recent, **kwargs)

    def form_valid(self, form: ImportForm) -> HttpResponse:
        """Store the file, queue the import, and redirect to its progress."""
        # An import without an owner, started by an anonymous visitor, is visible to everybody.
        owner = self.request.user if self.request.user.is_authenticated else None
        with form.open_file() as file:
            import_ = Import(owner=owner)
            import_.file.save(str(file.name), file, save=False)
        try:
            with transaction.atomic():
                import_.save()
                queue_import(import_)
        except OperationalError:  # Sent by the commit.
            import_.discard()
            form.add_error(
                None,
                "The import cannot be queued because Redis is unavailable."
                " Nothing was imported. Try again in a moment.",
            )
            return self.render_to_response(self.get_context_data(form=form), status=503)
        return redirect(import_)


class ImportDetail(DetailView):
    """Show the progress and the result of an import."""

    context_object_name = "import"
    template_name = "airports/import.html"

    def get_queryset(self) -> QuerySet[Import]:
        """Leave out the imports of others: the response is 404, as if they did not exist."""
        return Import.objects.visible_to(self.request.user)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add whether to show a progress bar."""
        return super().get_context_data(has_progress=self.has_progress(), **kwargs)

    def has_progress(self) -> bool:
        """Return whether the job is known: to Redis, or later to the history."""
        try:
            return get_sync_progress_manager().describe(self.object.pk) is not None
        except ProgressUnavailable:
            return self.object.finished_at is None  # The bar waits until Redis is back.


class StaffOnly(UserPassesTestMixin):
    """Lets staff in only; others can log in."""

    login_url = reverse_lazy("airports:login")

    def test_func(self) -> bool:
        """Return whether the user is staff."""
        return bool(self.request.user.is_active and self.request.user.is_staff)


class ImportsNow(StaffOnly, TemplateView):
    """Show all imports live."""

    template_name = "airports/now.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the newest imports that Redis and the history know."""
        try:
            job_ids = [job["job_id"] for job in get_sync_progress_manager().jobs()]
        except ProgressUnavailable:
            job_ids = []  # now.js adds them once Redis is available again.
        imports = Import.objects.filter(pk__in=filter(is_import_id, job_ids))
        return super().get_context_data(imports=imports, job_ids=job_ids, **kwargs)


class ImportRow(StaffOnly, View):
    """Render the row of one import in the list of all imports."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the row; nothing if the job is not an import."""
        import_id = request.GET.get("import", "")
        found = is_import_id(import_id) and Import.objects.filter(pk=import_id).first()
        if not found:
            return HttpResponse(status=204)
        return render(request, "airports/now_row.html", {"import": found})


def is_import_id(job_id: str) -> bool:
    """Return whether a job may be an import: their ids are UUIDs."""
    try:
        return bool(uuid.UUID(job_id))
    except ValueError:
        return False


class AirportList(ListView):
    """List and search the airports."""

    context_object_name = "airports"
    paginate_by = 50
    template_name = "airports/list.html"

    def get_queryset(self) -> QuerySet[Airport]:
        """Return the matching airports, or all without a search term."""
        self.form = SearchForm(self.request.GET)
        wanted = self.form.cleaned_data["q"] if self.form.is_valid() else ""
        if not wanted:
            return Airport.objects.all()
        return Airport.objects.filter(
            Q(icao__iexact=wanted)
            | Q(iata__iexact=wanted)
            | Q(name__icontains=wanted)
            | Q(city__icontains=wanted)
        )

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the search form."""
        return super().get_context_data(form=self.form, **kwargs)
