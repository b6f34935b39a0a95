"""The list of somebody's imports: what its template is filled with, who may ask for it again."""

from __future__ import annotations

import dataclasses
from typing import Any

from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.template.context import Context
from django.urls import reverse

from ..conf import settings
from ..core.commands import NOBODY, clean_owner
from ..core.errors import ProgressUnavailable
from ..core.snapshot import Fields, Stored
from ..service.registry import get_guarded_sync_manager
from .context import APP_NAME, checked_url, nonce_of
from .prefetch import READS, PageReads

_SALT = "django_import_progress.list"
LABEL = "label"
"""The field of a job that names what it imports, where it has one."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a page lists, and for whom."""

    owner: str
    """Whose jobs, by the primary key as text; `NOBODY`: there are none."""
    limit: int
    cancel: bool
    namespace: str | None
    viewer: str | None
    """Who was shown the page: nobody else may have the list anew."""

    def reference(self) -> str:
        """Return it signed and dated, to stand in a URL."""
        return signing.dumps(dataclasses.astuple(self), salt=_SALT, compress=True)

    @classmethod
    def read(cls, reference: str, viewer: str | None) -> Listing | None:
        """Return what was signed; None where it is forged, too old, or somebody else's."""
        try:
            values = signing.loads(reference, salt=_SALT, max_age=settings.ticket_seconds)
        except signing.BadSignature:
            return None
        names = [field.name for field in dataclasses.fields(cls)]
        listing = cls(**dict(zip(names, values, strict=True)))
        return listing if listing.viewer == viewer else None

    def context(self) -> dict[str, Any]:
        """Return what the template of the list's bars needs."""
        found, reads = self._found(), PageReads()
        for job_id, stored in found.items():
            reads.add(job_id, stored, self.namespace)
        return {
            "jobs": [{"id": job_id, "label": _label(job.fields)} for job_id, job in found.items()],
            "cancel": self.cancel,
            "namespace": self.namespace,
            READS: reads,
        }

    def _found(self) -> dict[str, Stored]:
        if self.owner == NOBODY:
            return {}
        try:
            return get_guarded_sync_manager(self.namespace).listed(self.owner, self.limit)
        except ProgressUnavailable:
            return {}  # The page is shown all the same, and asks again.


def viewer_of(request: Any) -> str | None:
    """Return the primary key, as text, of who is logged in."""
    user = getattr(request, "user", None)
    return str(user.pk) if user is not None and user.is_authenticated else None


def list_context(
    context: Context, *, owner: Any, limit: int, cancel: bool, namespace: str | None
) -> dict[str, Any]:
    """Return what the list's template needs; see the tag for the arguments.

    Raises:
        ValueError: `namespace` cannot be one.
        InvalidProgress: `limit` is no positive number, or `owner` can be nobody's primary key.
        ImproperlyConfigured: there is no owner, or the app's URLs are not included.
    """
    if owner is None:  # Which would list everybody's jobs: most likely a variable that is not set.
        raise ImproperlyConfigured(
            "import_progress_list needs an owner, as in owner=request.user; is the page rendered"
            " with its request?"
        )
    listing = Listing(
        owner=str(clean_owner(owner)),
        limit=limit,
        cancel=cancel,
        namespace=namespace,
        viewer=viewer_of(context.get("request")),
    )
    with checked_url(namespace):
        url = reverse(f"{namespace or APP_NAME}:list", args=[listing.reference()])
    return listing.context() | {"url": url, "nonce": nonce_of(context)}


def _label(fields: Fields) -> str:
    label = fields.get(LABEL)
    return label if isinstance(label, str) else ""
