"""Tickets: signed and dated job ids that let any holder watch a job."""

from __future__ import annotations

import dataclasses
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from typing import Any, Literal

from django.conf import settings as django_settings
from django.core import signing
from django.utils.crypto import salted_hmac

from ..conf import settings
from ..core.commands import clean_owner
from ..core.keys import JobId, clean_job_id, clean_namespace
from ..core.snapshot import Stored

Action = Literal["watch", "cancel"]

TICKET_PREFIX = "@"
"""First character of every ticket and of no job id. RFC 3986 allows it in a path unescaped."""
_SALT = "django_import_progress.ticket"
_RIGHTS: dict[str, tuple[Action, ...]] = {"w": ("watch",), "c": ("watch", "cancel")}
"""Actions that a ticket allows, by its first letter. If that is upper case, a digest of the owner
follows, and the ticket is valid only while the job has this owner."""
_OWNER_DIGEST_LENGTH = 16


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Permission to perform the requested action on a job."""

    job_id: str
    by_ticket: bool
    stored: Stored | None
    """The state of the job on which the decision was based; None for a ticket."""
    owners: frozenset[str] = frozenset()
    """Digests of the owners for whose jobs the tickets are valid; empty: any owner."""

    def may_see(self, owner: str | None) -> bool:
        """Return whether the grant is valid for a job of this owner."""
        if not self.owners:
            return True
        keys = (django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS)
        return owner is not None and any(_owner_digest(owner, key) in self.owners for key in keys)

    def seen(self, stored: Stored | None) -> Stored | None:
        """Return the stored job as its holder may see it: another owner's job looks deleted."""
        if stored is None or self.may_see(stored.owner):
            return stored
        return Stored(fields={}, life=0, version=0, expired=True, deleted=True)

    def __or__(self, other: Grant) -> Grant:
        """Combine two grants for the same job."""
        stored = self if other.stored is None else other
        owners = self.owners | other.owners if self.owners and other.owners else frozenset()
        return dataclasses.replace(stored, owners=owners)


def make_ticket(
    job_id: JobId, *, cancel: bool = False, namespace: str | None = None, owner: Any = None
) -> str:
    """Return a ticket whose holder may watch this job for `TICKET_SECONDS`.

    A ticket is signed with Django's `SECRET_KEY`
    (https://docs.djangoproject.com/en/stable/topics/signing/) and contains the job id as plain
    text.

    Args:
        job_id: the job, which need not exist yet.
        cancel: whether the holder may also cancel the job.
        namespace: the job's namespace; default: the setting's.
        owner: the job's owner, a user or a primary key. The ticket is then valid only while the
            job has this owner, and not for a job of another owner that is created with the same
            id later. It does not reveal the owner.

    Raises:
        InvalidJobId: `job_id` is invalid.
        InvalidProgress: `owner` is invalid.
        ValueError: `namespace` is invalid.
    """
    namespace = namespace or settings.namespace
    clean_namespace(namespace)
    letter, text = "c" if cancel else "w", clean_owner(owner)
    start = letter.upper() + _owner_digest(text, django_settings.SECRET_KEY) if text else letter
    return TICKET_PREFIX + _signer(namespace).sign(start + clean_job_id(job_id))


def _owner_digest(owner: str, key: str | bytes) -> str:
    digest = salted_hmac(f"{_SALT}.owner", owner, secret=key, algorithm="sha256").digest()
    return urlsafe_b64encode(digest)[:_OWNER_DIGEST_LENGTH].decode()


def _signer(namespace: str) -> signing.TimestampSigner:
    # The salt makes a ticket invalid for a job with the same id in another namespace.
    return signing.TimestampSigner(salt=f"{_SALT}.{namespace}")


def read_ticket(ticket: str, action: Action, namespace: str) -> Grant | None:
    """Return the grant of `ticket`; None if it does not allow `action`."""
    try:
        value = _signer(namespace).unsign(
            ticket.removeprefix(TICKET_PREFIX), max_age=settings.ticket_seconds
        )
    except signing.BadSignature:
        return None
    if action not in _RIGHTS.get(value[:1].lower(), ()):
        return None
    digest, job_id = _split(value)
    owners = frozenset({digest} if digest else ())
    return Grant(job_id=job_id, by_ticket=True, stored=None, owners=owners)


def _split(value: str) -> tuple[str, str]:
    """Return the owner digest (empty if there is none) and the job id."""
    start = 1 + (_OWNER_DIGEST_LENGTH if value[:1].isupper() else 0)
    return value[1:start], value[start:]


def job_id_in(reference: str) -> str:
    """Return the job id in an id or ticket, without checking the signature."""
    if not reference.startswith(TICKET_PREFIX):
        return reference
    return _split(reference[1:].rsplit(":", 2)[0])[1]


def by_job(grants: Iterable[Grant]) -> dict[str, Grant]:
    """Return grants by job id; several grants for a job are combined."""
    found: dict[str, Grant] = {}
    for grant in grants:
        known = found.get(grant.job_id)
        found[grant.job_id] = grant if known is None else known | grant
    return found
