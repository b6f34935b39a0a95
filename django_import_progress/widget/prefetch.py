"""Reads the jobs of a page: each once, many in one round trip."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.template.context import Context

from ..conf import settings
from ..core.errors import HistoryUnavailable, ProgressUnavailable
from ..core.keys import JobId, clean_job_id
from ..core.snapshot import Stored
from ..service.registry import get_guarded_sync_manager

READS = "import_progress_reads"
"""The name of the page's `PageReads` in a template context."""


class PageReads:
    """The jobs that one page has read so far."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Stored | None] = {}
        self._unread: set[tuple[str, str]] = set()

    def read(
        self,
        job_ids: Iterable[JobId],
        namespace: str | None,
        runs: Mapping[str, Stored] | None = None,
    ) -> None:
        """Read the jobs that have not been read yet, in one pipeline.

        Args:
            job_ids: the jobs.
            namespace: the jobs' namespace, if it is not the one in the settings.
            runs: what the history knows of the jobs, by id; None: it is looked up.

        Raises:
            InvalidJobId: one of `job_ids` is invalid.
        """
        namespace = namespace or settings.namespace
        ids = dict.fromkeys(map(clean_job_id, job_ids))
        missing = [job_id for job_id in ids if (namespace, job_id) not in self._found]
        if not missing:
            return
        found: Iterable[Stored | None] = [None] * len(missing)
        # Without Redis the page is rendered too; its script updates the bars later.
        try:
            manager = get_guarded_sync_manager(namespace)
            if runs is None:
                found = manager.find(missing)
            else:
                read = zip(missing, manager.read(missing), strict=True)
                found = [stored or runs.get(job_id) for job_id, stored in read]
        except HistoryUnavailable as error:
            found = error.read.values()
            unknown = (job_id for job_id, stored in error.read.items() if stored is None)
            self._unread.update((namespace, job_id) for job_id in unknown)
        except ProgressUnavailable:
            self._unread.update((namespace, job_id) for job_id in missing)
        for job_id, stored in zip(missing, found, strict=True):
            self.add(job_id, stored, namespace)

    def add(self, job_id: str, stored: Stored | None, namespace: str | None) -> None:
        """Add a job that was read elsewhere."""
        self._found[namespace or settings.namespace, job_id] = stored

    def was_read(self, job_id: str, namespace: str | None) -> bool:
        """Return False if Redis could not be reached, so it is unknown whether the job exists."""
        return (namespace or settings.namespace, job_id) not in self._unread

    def stored(self, job_id: str, namespace: str | None) -> Stored | None:
        """Return a job as it is stored. Reads it if it has not been read yet."""
        self.read([job_id], namespace)
        return self._found[namespace or settings.namespace, job_id]


def reads_of(context: Context) -> PageReads:
    """Return the `PageReads` of the page that is being rendered."""
    given: PageReads | None = context.get(READS)
    if given is not None:
        return given
    reads: PageReads = outermost_layer(context).setdefault(READS, PageReads())
    return reads


def outermost_layer(context: Context) -> dict[Any, Any]:
    """Return the layer of `RenderContext` that belongs to the outermost template.

    It lasts while that template is rendered, and is shared by included and extended templates and
    by other inclusion tags. A tag sees only its own template's layer.
    """
    layer: dict[Any, Any] = context.render_context.dicts[:2][-1]
    return layer
