"""The tags: ``{% import_progress_assets %}`` and ``{% import_progress job_id %}``."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.context import Context

from ..core.keys import JobId
from ..lists import list_context
from ..widgets import assets_context, bar_context

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
