"""What the widget's templates are filled with: right before any script runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.template import TemplateSyntaxError
from django.template.context import Context
from django.urls import NoReverseMatch, reverse
from django.utils.translation import pgettext

from .access import make_ticket
from .clients import perform_sync
from .conf import settings
from .connections import get_impatient_manager
from .core.errors import ProgressUnavailable
from .core.keys import JobId, clean_job_id, clean_namespace
from .core.snapshot import Stored, is_terminal
from .core.view import state_of
from .shown import notice_of, parts, status_of
from .texts import texts

APP_NAME = "import_progress"
MODULES = ("reducer", "connection", "ladder", "transports")
"""The script's modules, each of which the page names by its address: a storage that puts a hash
into the names of files does not look into scripts for what they import."""
TRANSPORTS = ("sse", "websocket", "polling")
UNKNOWN = {"percent": None, "stalled": False, "cancelling": False}
"""The representation of a job of which nothing is known."""


def assets_context(context: Context) -> dict[str, Any]:
    """Return what the assets' template needs."""
    return {"nonce": nonce_of(context), "modules": MODULES}


def nonce_of(context: Context) -> Any:
    """Return the nonce of the page's Content-Security-Policy, if any: Django's or django-csp's."""
    return context.get("csp_nonce") or getattr(context.get("request"), "csp_nonce", None)


def bar_context(
    context: Context,
    job_id: JobId,
    *,
    label: str = "",
    namespace: str | None = None,
    cancel: bool = False,
    transport: str | None = None,
) -> dict[str, Any]:
    """Return what the bar's template needs; see the tag for the arguments.

    Raises:
        InvalidJobId: `job_id` cannot be one.
        ValueError: `namespace` cannot be one.
        ImproperlyConfigured: the app's URLs are not included, the page has no CSRF token, or
            WebSockets are asked for and not mounted.
        TemplateSyntaxError: there is no such transport.
    """
    job_id = clean_job_id(job_id)
    stored, waiting_seconds = _read(job_id, namespace)
    shown = UNKNOWN if stored is None else state_of(job_id, stored).representation
    waited_seconds = None if stored is None else _waited_seconds(stored)
    if cancel and not context.get("csrf_token"):
        raise ImproperlyConfigured(
            "cancel=True needs a CSRF token: render the page with its request, as"
            " django.shortcuts.render does"
        )
    return {
        "job": shown,
        "job_id": job_id,
        "status": status_of(shown),
        "notice": notice_of(shown, waited_seconds),
        "waited_seconds": waited_seconds,
        "waiting_seconds": waiting_seconds,
        "label": label or pgettext("noun", "Import"),
        "parts": (texts_of_parts := parts(shown, waited_seconds)),
        # For templates that were overridden before there were more parts.
        **{f"{part}_text": texts_of_parts[part] for part in ("status", "percent", "rows")},
        "texts": texts(),
        "can_cancel": cancel and not is_terminal(shown),
        "transport": _known(transport),
        "stream_url": _stream_url(job_id, namespace, cancel=cancel),
        "websocket_url": _websocket_url(namespace, transport),
    }


def _read(job_id: str, namespace: str | None) -> tuple[Stored | None, float | None]:
    """Return a job, and for how long the page waits for it: None if it is there, or may be."""
    manager = get_impatient_manager(namespace)
    try:
        stored = perform_sync(manager.redis, manager.calls.get(job_id))
    except ProgressUnavailable:
        return None, None  # The page is shown all the same; the script tells when Redis is back.
    return stored, settings.waiting_seconds if stored is None else None


def _waited_seconds(stored: Stored) -> int | None:
    """Return for how long a job has been queued, by Redis's clock; None if that is not known.

    One that is queued for another attempt has not waited since it was made.
    """
    fields = stored.fields
    if fields.get("status") != "queued" or "attempt" in fields or not stored.life:
        return None
    return max(stored.read_at - stored.life, 0) // 1_000_000


def _known(transport: str | None) -> str | None:
    if transport is None or transport in TRANSPORTS:
        return transport
    raise TemplateSyntaxError(f"transport={transport!r}: choose one of {', '.join(TRANSPORTS)}")


def _stream_url(job_id: str, namespace: str | None, *, cancel: bool) -> str:
    ticket = make_ticket(job_id, cancel=cancel, namespace=namespace)
    with checked_url(namespace):
        return reverse(f"{namespace or APP_NAME}:stream", args=[ticket])


@contextmanager
def checked_url(namespace: str | None) -> Iterator[None]:
    """Have a URL that is not there raise `ImproperlyConfigured`, which says what to include."""
    if namespace is not None:
        clean_namespace(namespace)
    try:
        yield
    except NoReverseMatch as error:
        urls = 'include("django_import_progress.urls")'
        if namespace is not None:
            urls = f'{urls[:-1]}, namespace="{namespace}"), {{"progress_namespace": "{namespace}"}}'
        raise ImproperlyConfigured(
            f"No URL for the progress of {namespace or APP_NAME!r}: add"
            f' path("{namespace or "progress"}/", {urls}) to your urlpatterns'
        ) from error


def _websocket_url(namespace: str | None, transport: str | None) -> str | None:
    """Return where the WebSocket routes are; known of the setting's namespace only."""
    url = settings.websocket_url if namespace in {None, settings.namespace} else None
    if transport == "websocket" and url is None:
        raise ImproperlyConfigured(
            "transport='websocket' needs WebSocket routes of the default namespace: mount"
            " django_import_progress.routing and set IMPORT_PROGRESS['WEBSOCKET_URL']"
        )
    return url
