"""The door at which a page asks for its list of imports again, to see the new ones."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from ..core.messages import NO_SUCH_JOB, NOT_CACHED
from .job_list import Listing, viewer_of


@require_GET
@login_not_required  # Who was shown the page may ask: a redirect would be of no use to a script.
def jobs(request: HttpRequest, listing: str, progress_namespace: str | None = None) -> HttpResponse:
    """Answer with the list's bars as HTML; 404 for everybody but who was shown the page."""
    found = Listing.read(listing, viewer_of(request))
    if found is None or found.namespace != progress_namespace:
        answer: HttpResponse = JsonResponse({"error": NO_SUCH_JOB}, status=404)
    else:
        answer = render(request, "django_import_progress/list_items.html", found.context())
    answer["Cache-Control"] = NOT_CACHED
    return answer
