"""What the widget's templates are filled with: right before any script runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.template.context import Context
from django.urls import NoReverseMatch, reverse
from django.utils.formats import number_format
from django.utils.translation import gettext

from .access import make_ticket
from .clients import perform_sync
from .connections import get_impatient_manager
from .core.errors import ProgressUnavailable
from .core.keys import JobId, clean_job_id
from .core.snapshot import is_number, represent

APP_NAME = "import_progress"
WAITING = "waiting"
"""What is shown as the status of a job of which nothing is known yet."""


def assets_context(context: Context) -> dict[str, Any]:
    """Return what the assets' template needs: the nonce of a Content-Security-Policy, if any.

    It is taken from Django's own ``csp_nonce`` or from django-csp's request.
    """
    request = context.get("request")
    return {"nonce": context.get("csp_nonce") or getattr(request, "csp_nonce", None)}


def bar_context(job_id: JobId, label: str, namespace: str | None) -> dict[str, Any]:
    """Return what the bar's template needs.

    Raises:
        InvalidJobId: `job_id` cannot be one.
        ImproperlyConfigured: the app's URLs are not included.
    """
    job_id = clean_job_id(job_id)
    shown = represent(job_id, _fields(job_id, namespace), stalled=False, cancelling=False)
    status, words = shown.get("status"), texts()
    status = status if isinstance(status, str) and status else WAITING
    return {
        "job": shown,
        "job_id": job_id,
        "status": status,
        "status_text": words["statuses"].get(status, status),
        "label": label or gettext("Import"),
        "percent_text": _percent_text(shown["percent"], words),
        "rows_text": _rows_text(shown, words),
        "texts": words,
        "stream_url": _stream_url(job_id, namespace),
    }


def texts() -> dict[str, Any]:
    """Return the texts that the script needs too, in the language that is active.

    A pattern's ``{name}`` is filled with a number in the reader's format.
    """
    return {
        "statuses": {
            WAITING: gettext("Waiting"),
            "queued": gettext("Queued"),
            "parsing": gettext("Reading the file"),
            "importing": gettext("Importing"),
            "done": gettext("Done"),
            "failed": gettext("Failed"),
            "cancelled": gettext("Cancelled"),
            "gone": gettext("No longer available"),
        },
        "expired": gettext("Reload this page to see how it goes on"),
        "percent": gettext("{percent}%"),
        "rows": gettext("{processed} rows"),
        "rows_of": gettext("{processed} of {total} rows"),
        "rows_over": gettext("{processed} rows, more than the expected {total}"),
    }


def _fields(job_id: str, namespace: str | None) -> Mapping[str, Any]:
    manager = get_impatient_manager(namespace)
    try:
        stored = perform_sync(manager.redis, manager.calls.get(job_id))
    except ProgressUnavailable:
        return {}  # The page is shown all the same; the script tells as soon as Redis is back.
    return {} if stored is None else stored.fields


def _stream_url(job_id: str, namespace: str | None) -> str:
    instance = namespace or APP_NAME
    try:
        return reverse(f"{instance}:stream", args=[make_ticket(job_id, namespace=namespace)])
    except NoReverseMatch as error:
        extra = "" if namespace is None else f", namespace={namespace!r}"
        raise ImproperlyConfigured(
            f"No URL for the progress of {instance!r}: add"
            f' path("progress/", include("django_import_progress.urls"{extra})) to your urlpatterns'
        ) from error


def _percent_text(percent: float | None, words: Mapping[str, Any]) -> str:
    if percent is None:
        return ""
    return str(words["percent"]).replace("{percent}", number_format(math.floor(percent)))


def _rows_text(shown: Mapping[str, Any], words: Mapping[str, Any]) -> str:
    processed, total = shown.get("processed_rows"), shown.get("total_rows")
    if not is_number(processed):
        return ""
    pattern = str(words[_rows_pattern(processed, total)])
    for name, value in (("processed", processed), ("total", total)):
        if is_number(value):
            pattern = pattern.replace(f"{{{name}}}", number_format(value, force_grouping=True))
    return pattern


def _rows_pattern(processed: float, total: object) -> str:
    if not is_number(total):
        return "rows"
    return "rows_over" if processed > total else "rows_of"
