"""The list of a user's imports: its template context, and the view that refreshes it."""

from __future__ import annotations

import dataclasses
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.context import Context
from django.urls import reverse
from django.views.decorators.http import require_GET

from ..conf import settings
from ..core.commands import NOBODY, clean_owner
from ..core.errors import ProgressUnavailable
from ..core.messages import NO_SUCH_JOB, NOT_CACHED
from ..core.snapshot import Stored, text_of
from ..service.registry import get_guarded_sync_manager
from .context import APP_NAME, checked_url, nonce_of
from .prefetch import READS, PageReads

_SALT = "django_import_progress.list"
LABEL = "label"
"""The job field that is shown as a bar's label."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobList:
    """Which jobs a page lists, and for which viewer."""

    owner: str
    """Primary key of the jobs' owner, as text. `NOBODY`: the list is empty."""
    limit: int
    cancel: bool
    namespace: str | None
    viewer: str | None
    """Primary key of the user who was shown the page. No other user may refresh the list."""

    def signed(self) -> str:
        """Return the list's description for a URL, signed and dated."""
        return signing.dumps(dataclasses.astuple(self), salt=_SALT, compress=True)

    @classmethod
    def from_signed(cls, text: str, viewer: str | None) -> JobList | None:
        """Return the signed list; None if it is forged, expired, or another viewer's."""
        try:
            values = signing.loads(text, salt=_SALT, max_age=settings.ticket_seconds)
        except signing.BadSignature:
            return None
        names = [field.name for field in dataclasses.fields(cls)]
        job_list = cls(**dict(zip(names, values, strict=True)))
        return job_list if job_list.viewer == viewer else None

    def context(self) -> dict[str, Any]:
        """Return the context of the template that renders the list's bars."""
        jobs, reads = self._read_jobs(), PageReads()
        for job_id, stored in jobs.items():
            reads.add(job_id, stored, self.namespace)
        return {
            "jobs": [
                {"id": job_id, "label": text_of(job.fields.get(LABEL))}
                for job_id, job in jobs.items()
            ],
            "cancel": self.cancel,
            "namespace": self.namespace,
            READS: reads,
        }

    def _read_jobs(self) -> dict[str, Stored]:
        if self.owner == NOBODY:
            return {}
        try:
            return get_guarded_sync_manager(self.namespace).listed(self.owner, self.limit)
        except ProgressUnavailable:
            return {}  # The page is rendered without bars; its script refreshes the list.


def viewer_of(request: Any) -> str | None:
    """Return the primary key of the logged-in user, as text."""
    user = getattr(request, "user", None)
    return str(user.pk) if user is not None and user.is_authenticated else None


def list_context(
    context: Context, *, owner: Any, limit: int, cancel: bool, namespace: str | None
) -> dict[str, Any]:
    """Return the context of the list's template; see the tag for the arguments.

    Raises:
        ValueError: `namespace` is invalid.
        InvalidProgress: `limit` is not a positive number, or `owner` is not a valid primary key.
        ImproperlyConfigured: `owner` is None, or the app's URLs are not included.
    """
    if owner is None:  # Probably an undefined template variable. None would list all jobs.
        raise ImproperlyConfigured(
            "import_progress_list needs an owner, as in owner=request.user; is the page rendered"
            " with its request?"
        )
    job_list = JobList(
        owner=str(clean_owner(owner)),
        limit=limit,
        cancel=cancel,
        namespace=namespace,
        viewer=viewer_of(context.get("request")),
    )
    with checked_url(namespace):
        url = reverse(f"{namespace or APP_NAME}:list", args=[job_list.signed()])
    return job_list.context() | {"url": url, "nonce": nonce_of(context)}


@require_GET
@login_not_required  # A redirect to the login page would be of no use to the script.
def list_items(
    request: HttpRequest, listing: str, progress_namespace: str | None = None
) -> HttpResponse:
    """Render the list's current bars; 404 for every viewer but the one who was shown the page."""
    job_list = JobList.from_signed(listing, viewer_of(request))
    if job_list is None or job_list.namespace != progress_namespace:
        response: HttpResponse = JsonResponse({"error": NO_SUCH_JOB}, status=404)
    else:
        response = render(request, "django_import_progress/list_items.html", job_list.context())
    response["Cache-Control"] = NOT_CACHED
    return response
