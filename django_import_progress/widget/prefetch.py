"""The jobs that a page shows: each is read once, many in one round trip."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.template.context import Context

from ..conf import settings
from ..core.errors import ProgressUnavailable
from ..core.keys import JobId, clean_job_id
from ..core.snapshot import Stored
from ..service.registry import get_guarded_sync_manager

READS = "import_progress_reads"
"""The name under which a page has its `PageReads`."""


class PageReads:
    """What one page has read so far."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Stored | None] = {}
        self._unread: set[tuple[str, str]] = set()

    def read(self, job_ids: Iterable[JobId], namespace: str | None) -> None:
        """Read the jobs that have not been read yet, in one pipeline.

        Args:
            job_ids: the jobs.
            namespace: theirs, where it is not the setting's.

        Raises:
            InvalidJobId: one of `job_ids` cannot be one.
        """
        place = namespace or settings.namespace
        ids = dict.fromkeys(map(clean_job_id, job_ids))
        missing = [job_id for job_id in ids if (place, job_id) not in self._found]
        if not missing:
            return
        found: Iterable[Stored | None] = [None] * len(missing)
        # Without Redis the page is shown all the same; its script updates it later.
        try:
            found = get_guarded_sync_manager(namespace).read(missing)
        except ProgressUnavailable:
            self._unread.update((place, job_id) for job_id in missing)
        for job_id, stored in zip(missing, found, strict=True):
            self.add(job_id, stored, namespace)

    def add(self, job_id: str, stored: Stored | None, namespace: str | None) -> None:
        """Keep what was read of a job."""
        self._found[namespace or settings.namespace, job_id] = stored

    def was_read(self, job_id: str, namespace: str | None) -> bool:
        """Tell whether Redis has said whether the job exists."""
        return (namespace or settings.namespace, job_id) not in self._unread

    def stored(self, job_id: str, namespace: str | None) -> Stored | None:
        """Return a job as it is stored; it is read if it has not been."""
        self.read([job_id], namespace)
        return self._found[namespace or settings.namespace, job_id]


def reads_of(context: Context) -> PageReads:
    """Return what the page that is being rendered has read.

    It lives as long as the outermost template is rendered, and is the same one in templates that
    are included or extended, and in other inclusion tags. (`RenderContext` shows a tag only what
    belongs to its own template, so it is looked for below that.)
    """
    given: PageReads | None = context.get(READS)
    if given is not None:
        return given
    outermost: Any = context.render_context.dicts[:2][-1]
    reads: PageReads = outermost.setdefault(READS, PageReads())
    return reads
