"""The tags: ``{% import_progress_assets %}`` and ``{% import_progress job_id %}``."""

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
    """Link the style sheet and the script."""
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
) -> dict[str, Any]:
    """Draw a job's bar, which the script keeps live.

    Whoever sees the page may watch the job: the bar carries a ticket.

    Args:
        context: the page's.
        job_id: the job, there or not yet.
        label: what is imported; the bar's name.
        namespace: the job's, where it is not the setting's; also the namespace under which the
            URLs were included for it.
        cancel: whether who sees the page may cancel the job, too.
        transport: the only way by which the bar is to be kept live: ``sse``, ``websocket`` or
            ``polling``. Each that works, the best first, where none is given.
    """
    return bar_context(
        context, job_id, label=label, namespace=namespace, cancel=cancel, transport=transport
    )


@register.simple_tag(takes_context=True)
def import_progress_prefetch(
    context: Context, job_ids: Iterable[JobId], namespace: str | None = None
) -> str:
    """Read jobs in one round trip for the bars that follow on this page.

    Args:
        context: the page's.
        job_ids: the jobs of these bars, as a list or another iterable.
        namespace: the jobs', where it is not the setting's.
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
    """Draw the bars of somebody's newest imports, to which the script adds new ones.

    Whoever sees the page may watch these jobs, and those that the owner begins while it is open.

    Args:
        context: the page's.
        owner: a user, or a primary key: `request.user`, mostly.
        limit: how many.
        namespace: the jobs', where it is not the setting's.
        cancel: whether who sees the page may cancel the jobs, too.
    """
    return list_context(context, owner=owner, limit=limit, cancel=cancel, namespace=namespace)
