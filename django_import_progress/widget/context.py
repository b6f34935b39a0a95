"""The context of the bar's template: the bar is correct before any script runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.template import TemplateSyntaxError
from django.template.context import Context
from django.urls import NoReverseMatch, reverse

from ..access.tickets import make_ticket
from ..conf import settings
from ..core.job_state import description_of
from ..core.keys import JobId, clean_job_id, clean_namespace
from ..core.snapshot import Stored, is_terminal, text_of
from ..kinds import kind_of
from . import phrases
from .page_texts import active_language, texts_of
from .prefetch import reads_of
from .text import notice_of, parts, status_of

APP_NAME = "import_progress"
TRANSPORTS = ("sse", "websocket", "polling")

DEFAULT_CSRF_NAMES = (("header", "X-CSRFTOKEN"), ("cookie", "csrftoken"))
"""What the script uses unless the bar has other names."""
GONE = "gone"
"""The status that is shown for a deleted job."""
UNKNOWN = {"percent": None, "stalled": False, "cancelling": False, "outcome": None}
"""The representation of an unknown job."""


def assets_context(context: Context) -> dict[str, Any]:
    """Return the context of the assets' template."""
    return {"nonce": nonce_of(context), "text_blocks": texts_of(context).for_assets()}


def nonce_of(context: Context) -> Any:
    """Return the nonce of the page's CSP, set by Django or django-csp; None if there is none.

    It may be an object that is false until it is rendered, and must be rendered by then.
    """
    nonce = context.get("csp_nonce")
    return getattr(context.get("request"), "csp_nonce", None) if nonce is None else nonce


def bar_context(
    context: Context,
    job_id: JobId,
    *,
    label: str = "",
    namespace: str | None = None,
    cancel: bool = False,
    transport: str | None = None,
    compact: bool = False,
) -> dict[str, Any]:
    """Return the context of the bar's template; see the tag for the arguments.

    Raises:
        InvalidJobId: `job_id` is invalid.
        ValueError: `namespace` is invalid.
        ImproperlyConfigured: the app's URLs are not included; `cancel` without a CSRF token; or
            ``websocket`` without WebSocket routes.
        TemplateSyntaxError: `transport` is unknown.
    """
    job_id = clean_job_id(job_id)
    reads = reads_of(context)
    stored, was_read = reads.stored(job_id, namespace), reads.was_read(job_id, namespace)
    job = _representation(job_id, stored)
    owner = None if stored is None else stored.owner
    waited_seconds = None if stored is None else _waited_seconds(stored)
    # During an outage of Redis the page does not know whether the job exists.
    waiting_seconds = settings.waiting_seconds if stored is None and was_read else None
    has_report = job.get("has_report") or not job.get("expired")
    rejected = text_of(job.get("rejected_rows")) if has_report else ""
    if cancel and not context.get("csrf_token"):
        raise ImproperlyConfigured(
            "cancel=True needs a CSRF token: render the page with the request, as"
            " django.shortcuts.render does"
        )
    return {
        "job": job,
        "job_id": job_id,
        "status": status_of(job),
        "notice": notice_of(job, waited_seconds),
        "outcome": job["outcome"],
        "kind": kind_of(job),
        # Redis's report expires with the snapshot, the history's does not.
        "rejected": rejected,
        # Otherwise the script derives it from the stream's URL, whose ticket may only watch then.
        "rejects_url": _url("rejects", job_id, namespace, owner) if rejected or cancel else "",
        "waited_seconds": waited_seconds,
        "waiting_seconds": waiting_seconds,
        "label": label or text_of(job.get("label")).strip() or phrases.noun(kind_of(job)),
        "question": phrases.question(kind_of(job)),
        "keep": phrases.keep(kind_of(job)),
        "parts": (texts_of_parts := parts(job, waited_seconds)),
        # For overriding templates that were written before `parts` existed.
        **{f"{part}_text": texts_of_parts[part] for part in ("status", "percent", "rows")},
        "language": active_language(),
        "text_blocks": texts_of(context).for_bar(),
        "can_cancel": cancel and not is_terminal(job) and job.get("status") != GONE,
        "csrf_names": _csrf_names(),
        "transport": _clean_transport(transport),
        "compact": compact,
        "stream_url": _url("stream", job_id, namespace, owner, cancel=cancel),
        "websocket_url": _websocket_url(namespace, transport),
    }


def _representation(job_id: str, stored: Stored | None) -> Mapping[str, Any]:
    """Return the representation to show; a deleted job has the status `GONE`."""
    if stored is not None and stored.deleted:
        return {**UNKNOWN, "status": GONE}
    return description_of(job_id, stored) or UNKNOWN


def _waited_seconds(stored: Stored) -> int | None:
    """Return how long a job has been queued, by Redis's clock; None if this is unknown.

    It is unknown for a job that is queued for another attempt: only the time of its creation is
    stored.
    """
    fields = stored.fields
    if fields.get("status") != "queued" or "attempt" in fields or not stored.life:
        return None
    return max(stored.read_at - stored.life, 0) // 1_000_000


def _csrf_names() -> list[tuple[str, str]]:
    """Return the site's names of the CSRF header and cookie that are not Django's defaults.

    The script prefers the cookie's token to the page's, which a login in another tab replaces.
    """
    header = django_settings.CSRF_HEADER_NAME.removeprefix("HTTP_").replace("_", "-")
    cookie = "" if django_settings.CSRF_USE_SESSIONS else django_settings.CSRF_COOKIE_NAME
    names = [("header", header), ("cookie", cookie)]
    return [name for name in names if name not in DEFAULT_CSRF_NAMES]


def _clean_transport(transport: str | None) -> str | None:
    if transport is None or transport in TRANSPORTS:
        return transport
    raise TemplateSyntaxError(f"Invalid transport {transport!r}: use {', '.join(TRANSPORTS)}")


def _url(
    name: str, job_id: str, namespace: str | None, owner: str | None, *, cancel: bool = False
) -> str:
    # Bound to the current owner: the id may be used again while the page is still open.
    ticket = make_ticket(job_id, cancel=cancel, namespace=namespace, owner=owner)
    with checked_url(namespace):
        return reverse(f"{namespace or APP_NAME}:{name}", args=[ticket])


@contextmanager
def checked_url(namespace: str | None) -> Iterator[None]:
    """Turn a missing URL into `ImproperlyConfigured`, with the line to add to the URLs."""
    if namespace:  # An undefined template variable is empty.
        clean_namespace(namespace)
    try:
        yield
    except NoReverseMatch as error:
        urls = 'include("django_import_progress.urls")'
        if namespace:
            urls = f'{urls[:-1]}, namespace="{namespace}"), {{"progress_namespace": "{namespace}"}}'
        raise ImproperlyConfigured(
            f"No URL for the progress of {namespace or APP_NAME!r}: add"
            f' path("{namespace or "progress"}/", {urls}) to your urlpatterns'
        ) from error


def _websocket_url(namespace: str | None, transport: str | None) -> str | None:
    """Return the URL of the WebSocket routes, which only the default namespace has."""
    url = settings.websocket_url if namespace in {None, "", settings.namespace} else None
    if transport == "websocket" and url is None:
        raise ImproperlyConfigured(
            "transport='websocket' needs WebSocket routes, which only the default namespace has:"
            " mount django_import_progress.routing and set IMPORT_PROGRESS['WEBSOCKET_URL']"
        )
    return url
