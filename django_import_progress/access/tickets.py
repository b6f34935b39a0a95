"""Tickets: signed and dated job ids, whose holders may watch without a look at who they are."""

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

TICKET_MARK = "@"
"""What a ticket begins with, and no job id does. RFC 3986 lets it stand in a path as it is."""
_SALT = "django_import_progress.ticket"
_RIGHTS: dict[str, tuple[Action, ...]] = {"w": ("watch",), "c": ("watch", "cancel")}
"""What a ticket allows, by the letter that it begins with; a capital one: only while the job has
the owner whose mark follows."""
_OWNER_MARK_LENGTH = 16


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A yes."""

    job_id: str
    by_ticket: bool
    stored: Stored | None
    """What was read to decide; by ticket nothing had to be."""
    owners: frozenset[str] = frozenset()
    """The marks of the owners for whose jobs the tickets are valid; empty: for anybody's."""

    def may_see(self, owner: str | None) -> bool:
        """Tell whether the ticket, if there is one, is valid for a job of this owner."""
        if not self.owners:
            return True
        keys = (django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS)
        return owner is not None and any(_owner_mark(owner, key) in self.owners for key in keys)

    def seen(self, stored: Stored | None) -> Stored | None:
        """Return what the holder may see of what is stored: a job of another owner is deleted."""
        if stored is None or self.may_see(stored.owner):
            return stored
        return Stored(fields={}, life=0, version=0, expired=True, deleted=True)

    def __or__(self, other: Grant) -> Grant:
        """Return what two grants for the same job allow together."""
        stored = self if other.stored is None else other
        owners = self.owners | other.owners if self.owners and other.owners else frozenset()
        return dataclasses.replace(stored, owners=owners)


def make_ticket(
    job_id: JobId, *, cancel: bool = False, namespace: str | None = None, owner: Any = None
) -> str:
    """Return a ticket: its holder may watch this job for `TICKET_SECONDS`.

    Signed with Django's `SECRET_KEY` (https://docs.djangoproject.com/en/stable/topics/signing/);
    the id stands in it in the clear.

    Args:
        job_id: the job, there or not yet.
        cancel: whether the holder may cancel it, too.
        namespace: the job's, where it is not the setting's.
        owner: the job's owner, a user or a primary key: the ticket is valid only while the job has
            this owner, and not for another job that is created under the same id later. It does
            not show who that is.

    Raises:
        InvalidJobId: `job_id` cannot be one.
        InvalidProgress: `owner` cannot be an owner.
        ValueError: `namespace` cannot be one.
    """
    namespace = namespace or settings.namespace
    clean_namespace(namespace)
    letter, text = "c" if cancel else "w", clean_owner(owner)
    start = letter.upper() + _owner_mark(text, django_settings.SECRET_KEY) if text else letter
    return TICKET_MARK + _signer(namespace).sign(start + clean_job_id(job_id))


def _owner_mark(owner: str, key: str | bytes) -> str:
    digest = salted_hmac(f"{_SALT}.owner", owner, secret=key, algorithm="sha256").digest()
    return urlsafe_b64encode(digest)[:_OWNER_MARK_LENGTH].decode()


def _signer(namespace: str) -> signing.TimestampSigner:
    # The salt keeps a ticket of one namespace from opening a job of the same id in another.
    return signing.TimestampSigner(salt=f"{_SALT}.{namespace}")


def read_ticket(ticket: str, action: Action, namespace: str) -> Grant | None:
    """Return what `ticket` allows; None where it does not allow `action`."""
    try:
        value = _signer(namespace).unsign(
            ticket.removeprefix(TICKET_MARK), max_age=settings.ticket_seconds
        )
    except signing.BadSignature:
        return None
    if action not in _RIGHTS.get(value[:1].lower(), ()):
        return None
    mark, job_id = _parted(value)
    owners = frozenset({mark} if mark else ())
    return Grant(job_id=job_id, by_ticket=True, stored=None, owners=owners)


def _parted(value: str) -> tuple[str, str]:
    """Return the owner's mark, if there is one, and the job's id."""
    start = 1 + (_OWNER_MARK_LENGTH if value[:1].isupper() else 0)
    return value[1:start], value[start:]


def named_by(reference: str) -> str:
    """Return which job's id stands in `reference`, signed or not: for what needs no right."""
    if not reference.startswith(TICKET_MARK):
        return reference
    return _parted(reference[1:].rsplit(":", 2)[0])[1]


def by_job(grants: Iterable[Grant]) -> dict[str, Grant]:
    """Return grants by job: a ticket adds to what the rule or another ticket allows."""
    found: dict[str, Grant] = {}
    for grant in grants:
        known = found.get(grant.job_id)
        found[grant.job_id] = grant if known is None else known | grant
    return found
