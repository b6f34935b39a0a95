"""The list of a user's imports: its template context, and the view that refreshes it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.context import Context
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import get_conditional_response
from django.utils.translation import get_language, override
from django.views.decorators.http import require_GET

from ..access.sessions import leave_unextended
from ..conf import settings
from ..core.commands import NOBODY, clean_owner
from ..core.errors import HistoryUnavailable, ProgressUnavailable
from ..core.messages import NO_SUCH_JOB, NOT_CACHED, UNAVAILABLE
from ..core.snapshot import Stored
from ..service.registry import get_guarded_sync_manager
from .context import APP_NAME, checked_url, nonce_of
from .jsonml import elements_with
from .prefetch import READS, PageReads

ITEMS = "django_import_progress/list_items.html"
ITEM = "data-item"
"""The attribute of an item, which `ITEMS` renders."""
RETRY_AFTER_SECONDS = 2
_SALT = "django_import_progress.list"


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
    language: str | None
    """The language of the page; None if translations were deactivated."""
    time_zone: str | None
    """The time zone of the page; None if it has no name."""

    def signed(self) -> str:
        """Return the list's description for a URL, signed and dated."""
        return signing.dumps(dataclasses.astuple(self), salt=_salt(self.namespace), compress=True)

    @classmethod
    def from_signed(
        cls, text: str, viewer: str | None, namespace: str | None = None
    ) -> JobList | None:
        """Return the signed list.

        None if it is forged, expired, another viewer's, or of another namespace or tenant.
        """
        salt = _salt(namespace)
        try:
            values = signing.loads(text, salt=salt, max_age=settings.ticket_seconds)
        except signing.BadSignature:
            return None
        names = [field.name for field in dataclasses.fields(cls)]
        job_list = cls(**dict(zip(names, values, strict=True)))
        return job_list if job_list.viewer == viewer else None

    def read_jobs(self) -> dict[str, Stored]:
        """Return the jobs by id, the newest first.

        Raises:
            ProgressUnavailable: Redis cannot be reached.
            HistoryUnavailable: the history's database cannot be reached.
        """
        if self.owner == NOBODY:
            return {}
        return get_guarded_sync_manager(self.namespace).newest(self.owner, self.limit)

    def context(self, jobs: Mapping[str, Stored]) -> dict[str, Any]:
        """Return the context of the template that renders the bars of `jobs`."""
        reads = PageReads()
        for job_id, stored in jobs.items():
            reads.add(job_id, stored, self.namespace)
        return {
            "jobs": list(jobs),
            "cancel": self.cancel,
            "namespace": self.namespace,
            READS: reads,
        }


def _salt(namespace: str | None) -> str:
    return f"{_SALT}.{namespace or settings.namespace}"


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
        language=get_language(),
        time_zone=getattr(timezone.get_current_timezone(), "key", None),
    )
    with checked_url(namespace):
        url = reverse(f"{namespace or APP_NAME}:list", args=[job_list.signed()])
    jobs: Mapping[str, Stored]
    try:
        jobs, is_known = job_list.read_jobs(), True
    except HistoryUnavailable as error:
        jobs, is_known = error.read, False
    except ProgressUnavailable:  # The page is rendered without bars; its script refreshes the list.
        jobs, is_known = {}, False
    return job_list.context(jobs) | {
        "is_empty": is_known and not jobs,
        # The list of an anonymous visitor stays empty.
        "url": "" if job_list.owner == NOBODY else url,
        "etag": _etag_of(jobs) if is_known else "",
        "seconds": str(settings.ticket_seconds),
        "nonce": nonce_of(context),
    }


@require_GET
@login_not_required  # A redirect to the login page would be of no use to the script.
def list_items(
    request: HttpRequest, listing: str, progress_namespace: str | None = None
) -> HttpResponse:
    """Respond with the list's current bars as JsonML, or 304 if no job was added or has ended.

    The response is 404 unless the viewer is the one who was shown the page.
    """
    job_list = JobList.from_signed(listing, viewer_of(request), progress_namespace)
    leave_unextended(request)
    if job_list is None:
        return _json({"error": NO_SUCH_JOB}, status=404)
    try:
        jobs = job_list.read_jobs()
    except ProgressUnavailable:
        response = _json({"error": UNAVAILABLE}, status=503)
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response
    etag = _etag_of(jobs)
    not_modified = get_conditional_response(request, etag=etag)
    if not_modified is None:
        with override(job_list.language), timezone.override(job_list.time_zone):
            html = render_to_string(ITEMS, job_list.context(jobs), request)
        response = _json({"items": elements_with(ITEM, html)})
    else:
        response = not_modified
        response["Cache-Control"] = NOT_CACHED
    response["ETag"] = etag
    return response


def _etag_of(jobs: Mapping[str, Stored]) -> str:
    """Return the version of a list of jobs. A job changes it only by its end, or a new start."""
    states = [[job_id, job.ended] for job_id, job in jobs.items()]
    return f'"{hashlib.blake2b(json.dumps(states).encode(), digest_size=16).hexdigest()}"'


def _json(value: dict[str, Any], *, status: int = 200) -> HttpResponse:
    response = JsonResponse(value, status=status, json_dumps_params={"ensure_ascii": False})
    response["Cache-Control"] = NOT_CACHED
    return response
