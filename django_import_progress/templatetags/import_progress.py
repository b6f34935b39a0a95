"""Template tags that render live bars and lists of imports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import template
from django.template import TemplateSyntaxError
from django.template.context import Context

from ..core.keys import JobId
from ..widget.context import assets_context, bar_context
from ..widget.job_list import list_context
from ..widget.prefetch import reads_of

register = template.Library()


@register.inclusion_tag("django_import_progress/assets.html", takes_context=True)
def import_progress_assets(context: Context) -> dict[str, Any]:
    """Render the links to the style sheet and the script, once per page."""
    return assets_context(context)


@register.inclusion_tag("django_import_progress/bar.html", takes_context=True)
def import_progress(
    context: Context,
    job_id: JobId,
    label: str = "",
    namespace: str | None = None,
    *,
    cancel: bool = False,
    transport: str | None = None,
    compact: bool = False,
) -> dict[str, Any]:
    """Render a job's bar, which the script keeps live.

    Everyone who can open the page may watch the job: the bar carries a ticket.

    Args:
        context: the page's context.
        job_id: the job; it may not exist yet.
        label: what is imported; also the bar's accessible name.
        namespace: the job's namespace, if it is not the one in the settings; also the namespace
            of its URLs.
        cancel: whether everyone who can open the page may also cancel the job.
        transport: the only transport to use: ``sse``, ``websocket`` or ``polling``. By default
            the script picks the best that works.
        compact: whether to render one line without the label, for a row of a table.
    """
    return bar_context(
        context,
        job_id,
        label=label,
        namespace=namespace,
        cancel=cancel,
        transport=transport,
        compact=compact,
    )


@register.simple_tag(takes_context=True)
def import_progress_prefetch(
    context: Context, job_ids: Iterable[JobId], namespace: str | None = None
) -> str:
    """Read the jobs of the bars that follow on this page, in one round trip.

    Args:
        context: the page's context.
        job_ids: the jobs, as a list or another iterable.
        namespace: the jobs' namespace, if it is not the one in the settings.
    """
    if isinstance(job_ids, str):
        raise TemplateSyntaxError(
            f"import_progress_prefetch {job_ids!r}: pass a list of job ids, not a single one"
        )
    reads_of(context).read(job_ids, namespace)
    return ""


@register.inclusion_tag("django_import_progress/list.html", takes_context=True)
def import_progress_list(
    context: Context,
    owner: Any,
    limit: int = 10,
    namespace: str | None = None,
    *,
    cancel: bool = False,
) -> dict[str, Any]:
    """Render the bars of a user's newest imports. The script adds new ones.

    Everyone who can open the page may watch these jobs, and those that the owner starts while
    it is open.

    Args:
        context: the page's context.
        owner: a user or a primary key; usually `request.user`.
        limit: the maximum number of bars.
        namespace: the jobs' namespace, if it is not the one in the settings.
        cancel: whether everyone who can open the page may also cancel the jobs.
    """
    return list_context(context, owner=owner, limit=limit, cancel=cancel, namespace=namespace)
