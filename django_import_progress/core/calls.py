"""Every verb as data: what to send to Redis, and how to read what it answers. Performs nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import partial
from typing import Any, NoReturn

from . import scripts
from .attempt import Attempt, Lease, Told
from .call import Call, Plan, Reply, evalsha
from .errors import InvalidProgress, JobExists, JobFinished, JobNotFound
from .keys import Keys
from .listing import Listing
from .snapshot import (
    KNOWN,
    MAX_BYTES,
    TRACKED,
    Fields,
    JsonDefault,
    Stored,
    as_text,
    checked_mapping,
    decode,
    encode,
    join_json,
    loads,
    loads_fields,
)

MAX_TTL_SECONDS = 10_000_000_000
"""Some 317 years: Redis refuses an expiry that overflows 64 bits of milliseconds."""
MAX_OWNER_LENGTH = 255
_KEYS_WITHOUT_STR = (int, float, tuple)
"""Their text is that for programmers; a tuple is a composite primary key."""


NOBODY = ""
"""An anonymous visitor as an owner: a job of theirs has none, and a list of their jobs is empty."""


def check_ttl(ttl_seconds: object) -> None:
    """Raise `InvalidProgress` unless it is a positive int of at most `MAX_TTL_SECONDS`."""
    if type(ttl_seconds) is not int or not 0 < ttl_seconds <= MAX_TTL_SECONDS:
        raise InvalidProgress(
            f"{ttl_seconds!r} is no ttl_seconds: pass a positive int, {MAX_TTL_SECONDS:,} at most"
        )


def clean_owner(owner: Any) -> str | None:
    """Return the owner's primary key as text: of a user (anything with `pk`), or of the key itself.

    `NOBODY` for an anonymous user, which must not be taken for None: that lists everybody's jobs.

    Raises:
        InvalidProgress: the user has no primary key yet, it is longer than 255 characters, or it
            is of a kind that no key is.
    """
    if owner is None:
        return None
    if getattr(owner, "is_anonymous", False) and not isinstance(owner, type):
        return NOBODY
    key = getattr(owner, "pk", owner)
    text = str(key) if _may_be_a_key(key) else ""
    if not 0 < len(text) <= MAX_OWNER_LENGTH or not text.isprintable():
        # Of what is no text only the kind is said: to show a queryset asks the database.
        what = ascii(owner) if isinstance(owner, str) else f"This {owner.__class__.__name__}"
        raise InvalidProgress(
            f"{what[:MAX_OWNER_LENGTH]} is no owner: pass a saved user, or a primary key of 1 to"
            f" {MAX_OWNER_LENGTH} printable characters"
        )
    return text


def _may_be_a_key(key: Any) -> bool:
    """Tell whether it has a text for others than programmers.

    A request, a method, a queryset or a coroutine that nobody has awaited has none.
    """
    kind: Any = key.__class__  # Of what is lazy: what it stands for.
    if issubclass(kind, _KEYS_WITHOUT_STR):
        return kind is not bool
    return bool(kind.__str__ is not object.__str__)


@dataclasses.dataclass(frozen=True, slots=True)
class Calls:
    """The verbs of one namespace.

    Each checks what it is given first: `InvalidProgress` is raised before anything is sent.
    """

    keys: Keys
    ttl_seconds: int
    default: JsonDefault
    """How a value is encoded that JSON has no form for."""
    clustered: bool = False
    """Whether each key may live on another server."""

    def get(self, job_id: str) -> Call[Stored | None]:
        """Read a job."""
        return evalsha(scripts.READ, [self.keys.hash(job_id)], [], _parse_read)

    def cancel(self, job_id: str) -> Call[bool]:
        """Ask a job to stop."""
        args = (self.ttl_seconds, self.keys.channel(job_id))
        return evalsha(
            scripts.CANCEL,
            [self.keys.hash(job_id)],
            args,
            lambda reply: bool(reply[0] == scripts.OK),
        )

    def set(
        self, job_id: str, data: Mapping[str, Any], now: str, ttl_seconds: int | None
    ) -> Call[Fields]:
        """Replace a job's snapshot."""
        args = [*self._ttls(ttl_seconds), *self._fields(data, now)]
        return evalsha(scripts.SET, [self.keys.hash(job_id)], args, partial(_parse_fields, job_id))

    def update(
        self, job_id: str, data: Mapping[str, Any], now: str, ttl_seconds: int | None
    ) -> Call[Fields]:
        """Merge into a job's snapshot, and tell the whole."""
        args = [*self._ttls(ttl_seconds), self.keys.channel(job_id), MAX_BYTES]
        args += self._fields(data, now)
        return evalsha(
            scripts.UPDATE, [self.keys.hash(job_id)], args, partial(_parse_fields, job_id)
        )

    def publish(self, job_id: str, data: Mapping[str, Any], now: str | None) -> Call[int]:
        """Tell something on a job's channel, and store nothing.

        `updated_at` is added where it is missing and `now` is given.
        """
        encoded = encode(data, self.default)
        if now is not None:
            encoded.setdefault("updated_at", f'"{now}"')
        publish = "SPUBLISH" if self.keys.sharded else "PUBLISH"
        return Call((publish, self.keys.channel(job_id), join_json(encoded)), int)

    def create(
        self,
        job_id: str,
        owner: str | None,
        data: Mapping[str, Any],
        now: str,
        ttl_seconds: int | None,
    ) -> Call[str]:
        """Make a job that is not there yet."""
        fields = self._fields({"status": "queued", **checked_mapping(data)}, now)
        listing = self._listing
        return evalsha(
            scripts.CREATE,
            listing.keys_of(job_id, owner),
            [*self._ttls(ttl_seconds), *listing.args_of(job_id, owner), *fields],
            lambda reply: job_id if reply[0] == scripts.OK else _fail(job_id, reply),
            lambda reply: listing.enter(job_id, reply[1]),
        )

    def delete(self, job_id: str) -> Call[bool]:
        """Forget a job, and tell so."""
        keys, args = [self.keys.hash(job_id)], [self.keys.channel(job_id)]
        return evalsha(scripts.DELETE, keys, args, lambda reply: bool(reply[1]))

    def jobs(self, owner: str | None, limit: int) -> Plan[dict[str, Stored]]:
        """List jobs by their ids, newest first."""
        return self._listing.jobs(owner, limit, self.get)

    def jobs_since(self, life: int) -> Call[list[tuple[str, int]]]:
        """List ids and lives of all jobs that began at `life` or later, newest first."""
        return self._listing.since(life)

    def begin(
        self, job_id: str, owner: str | None, lease: Lease, data: Mapping[str, Any], now: str
    ) -> Call[Attempt]:
        """Take a job as its worker: a new attempt, the fields of the last one gone."""
        listing = self._listing
        args = [*self._ttls(None), *listing.args_of(job_id, owner)]
        return evalsha(
            scripts.BEGIN,
            listing.keys_of(job_id, owner),
            [*args, *lease.args, *self._fields(data, now)],
            partial(_parse_attempt, lease),
            lambda reply: listing.enter(job_id, reply[1][1]),
        )

    def write(
        self,
        job_id: str,
        attempt: Attempt,
        data: Mapping[str, Any],
        now: str,
        *,
        number: int,
        anew: bool,
    ) -> Call[Told]:
        """Tell how far the worker is; with `anew` a job that is gone is made again.

        `number` grows with each write of an attempt: what comes late changes nothing.
        """
        listing = self._listing
        added: str | int = json.dumps([name for name in data if name not in KNOWN | TRACKED])
        args = self._ttls(attempt.ttl_seconds if anew else None)
        args += [*listing.args_of(job_id, attempt.owner)]
        args += [*attempt.lease.args, MAX_BYTES, int(anew)]
        whole = {**attempt.base, **data} if anew else data
        args += [attempt.number, attempt.begun, number, added, *self._fields(whole, now)]
        return evalsha(
            scripts.WRITE,
            listing.keys_of(job_id, attempt.owner),
            args,
            partial(_parse_written, job_id),
            lambda reply: listing.enter(job_id, reply[2]) if reply[2:] else [],
        )

    @property
    def _listing(self) -> Listing:
        return Listing(self.keys, self.ttl_seconds, self.clustered)

    def _fields(self, data: Mapping[str, Any], now: str) -> list[str]:
        given = {name: data[name] for name in checked_mapping(data) if name != "updated_at"}
        encoded = {**encode(given, self.default), "updated_at": f'"{now}"'}
        return [text for pair in encoded.items() for text in pair]

    def _ttls(self, ttl_seconds: int | None) -> list[str | int]:
        if ttl_seconds is not None:
            check_ttl(ttl_seconds)
        return [self.ttl_seconds, "" if ttl_seconds is None else ttl_seconds]


def _fail(job_id: str, reply: Reply) -> NoReturn:
    raise {
        scripts.MISSING: JobNotFound(
            f"There is no job {job_id}; it may have expired: create it first"
        ),
        scripts.FINISHED: JobFinished(
            f"Job {job_id} has ended and takes no updates;"
            " set_progress or track_import begin it anew"
        ),
        scripts.TOO_LARGE: InvalidProgress(
            f"The merged snapshot would be {reply[-1]} bytes of JSON, {MAX_BYTES} at most"
        ),
        scripts.EXISTS: JobExists(
            f"There is a job {job_id} already: choose another id, or leave it out for a new one;"
            " track_import takes a job that is there"
        ),
    }[reply[0]]


def _pairs(flat: list[str | bytes]) -> dict[str | bytes, str | bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _parse_read(reply: Reply) -> Stored | None:
    return decode(_pairs(reply[1]), int(reply[0]))


def _parse_fields(job_id: str, reply: Reply) -> Fields:
    return _fail(job_id, reply) if isinstance(reply, list) else loads_fields(reply)


def _parse_attempt(lease: Lease, reply: Reply) -> Attempt:
    number, begun = loads(reply[1][0]), loads(reply[1][3])
    _, owner, ttl_seconds = map(loads, reply[1][1])
    return Attempt(
        number=number,
        base=loads_fields(reply[2]),
        owner=owner,
        ttl_seconds=ttl_seconds,
        lease=lease,
        begun=begun,
        asked_to_stop=_is_set(reply[1][2]),
    )


_REFUSALS = {
    scripts.MISSING: Told.GONE,
    scripts.FINISHED: Told.ENDED,
    scripts.SUPERSEDED: Told.SUPERSEDED,
}


def _parse_written(job_id: str, reply: Reply) -> Told:
    if reply[0] == scripts.OK:
        return Told.STOP if _is_set(reply[1]) else Told.GO_ON
    return _REFUSALS[reply[0]] if reply[0] in _REFUSALS else _fail(job_id, reply)


def _is_set(flag: str | bytes) -> bool:
    return as_text(flag) == "1"
