"""Every verb as data: what to send to Redis, and how to read what it answers. Performs nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn

from .command import Plan, RedisCommand, Reply, evalsha
from .errors import InvalidProgress, JobExists, JobFinished, JobNotFound
from .job_index import Listing, owner_json
from .keys import Keys
from .lease import Attempt, Lease, LeaseCheck, WriteResult
from .lua import scripts
from .outcome import recall
from .snapshot import (
    KNOWN,
    MAX_BYTES,
    TRACKED,
    JsonDefault,
    Stored,
    Written,
    as_text,
    checked_mapping,
    decode,
    encode,
    join_json,
    loads,
    loads_answer,
)

MAX_TTL_SECONDS = 10_000_000_000
"""Some 317 years: Redis refuses an expiry that overflows 64 bits of milliseconds."""
QUEUED_SECONDS = 7 * 24 * 3600
"""How long a queued job is kept, unless set otherwise."""
ENDED_SECONDS = 7 * 24 * 3600
"""How long a job's outcome is remembered after its snapshot has expired, unless set otherwise."""
MAX_OWNER_LENGTH = 255
_KEYS_WITHOUT_STR = (int, float, tuple)
"""Their text is that for programmers; a tuple is a composite primary key."""

_OWN = KNOWN | TRACKED
_OF_ATTEMPT = frozenset({"stage", "total_rows"})
"""What a further attempt may not set again: it begins with what was there before this one did."""

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
class JobCommands:
    """The verbs of one namespace.

    Each checks what it is given first: `InvalidProgress` is raised before anything is sent.
    """

    keys: Keys
    ttl_seconds: int
    default: JsonDefault
    """How a value is encoded that JSON has no form for."""
    queued_seconds: int = QUEUED_SECONDS
    ended_seconds: int = ENDED_SECONDS
    database: int = 0
    """Its number: all databases of a server share their channels."""
    nonce: Callable[[], str] = str
    """Returns 8 characters that name one call, so that a command which is sent twice is executed
    once. Empty: the call has no name."""

    def get(self, job_id: str) -> RedisCommand[Stored | None]:
        """Read a job, or what is remembered of it."""
        return evalsha(scripts.READ, self._keys(job_id), [], partial(_parse_read, job_id))

    def cancel(self, job_id: str, owner: str | None = None) -> RedisCommand[bool]:
        """Request cancellation; where `owner` is given, only if the job is still the owner's."""
        return evalsha(
            scripts.CANCEL,
            self._keys(job_id),
            [*self._args(job_id, None), owner_json(owner), self.nonce()],
            lambda reply: bool(reply[0] == scripts.OK),
        )

    def set(
        self, job_id: str, data: Mapping[str, Any], now: str, ttl_seconds: int | None
    ) -> RedisCommand[Stored]:
        """Replace a job's snapshot."""
        args = [*self._args(job_id, ttl_seconds), self.nonce(), *self._fields(data, now)]
        return evalsha(scripts.SET, self._keys(job_id), args, partial(_parse_stored, job_id))

    def update(
        self, job_id: str, data: Mapping[str, Any], now: str, ttl_seconds: int | None
    ) -> RedisCommand[Stored]:
        """Merge into a job's snapshot, and publish the whole."""
        args = [*self._args(job_id, ttl_seconds), MAX_BYTES, self.nonce()]
        args += self._fields(data, now)
        return evalsha(scripts.UPDATE, self._keys(job_id), args, partial(_parse_stored, job_id))

    def publish(
        self, job_id: str, data: Mapping[str, Any], now: str | None, written: Written | None
    ) -> RedisCommand[int]:
        """Publish something on a job's channel, and store nothing.

        Args:
            job_id: the job.
            data: what to publish.
            now: `updated_at`, where `data` has none; None: it is not added.
            written: the snapshot on which the publisher builds; None: the one stored now.
        """
        encoded = encode(data, self.default)
        if now is not None:
            encoded.setdefault("updated_at", f'"{now}"')
        start = join_json(encoded | {"_l": "1", "_v": "1"})[:-1] + ',"_m":'
        end, channel = f',"_db":{self.database}}}', self.keys.channel(job_id)
        if written is None:
            return evalsha(
                scripts.PUBLISH_CURRENT, [self.keys.hash(job_id)], [channel, start, end], int
            )
        publish = "SPUBLISH" if self.keys.sharded else "PUBLISH"
        return RedisCommand((publish, channel, f"{start}[{written[0]},{written[1]}]{end}"), int)

    def create(
        self,
        job_id: str,
        owner: str | None,
        data: Mapping[str, Any],
        now: str,
        ttl_seconds: int | None,
    ) -> RedisCommand[str]:
        """Make a job that is not there yet."""
        fields = self._fields({"status": "queued", **checked_mapping(data)}, now)
        listing = self._listing
        return evalsha(
            scripts.CREATE,
            self._keys(job_id) + listing.keys_of(owner),
            [
                *self._args(job_id, ttl_seconds),
                *listing.args_of(job_id, owner),
                self.nonce(),
                *fields,
            ],
            lambda reply: job_id if reply[0] == scripts.OK else _fail(job_id, reply),
            lambda reply: listing.enter(job_id, reply[1]),
        )

    def delete(self, job_id: str) -> RedisCommand[bool]:
        """Delete a job, and publish that."""
        args = [*self._args(job_id, None), self.nonce()]
        return evalsha(scripts.DELETE, self._keys(job_id), args, lambda reply: bool(reply[1]))

    def jobs(self, owner: str | None, limit: int) -> Plan[dict[str, Stored]]:
        """List jobs by their ids, newest first."""
        return self._listing.jobs(owner, limit, self.get)

    def jobs_since(self, life: int) -> RedisCommand[list[tuple[str, int]]]:
        """List ids and lives of all jobs that began at `life` or later, newest first."""
        return self._listing.since(life)

    def begin(
        self, job_id: str, owner: str | None, lease: Lease, data: Mapping[str, Any], now: str
    ) -> RedisCommand[Attempt | None]:
        """Take a job as its worker: a new attempt, the fields of the last one gone.

        None: this call was executed before, and a newer attempt has taken the job since.
        """
        listing = self._listing
        args = [*self._args(job_id, None), *listing.args_of(job_id, owner)]
        return evalsha(
            scripts.BEGIN,
            self._keys(job_id) + listing.keys_of(owner),
            [*args, *lease.args, *self._fields(data, now)],
            partial(_parse_attempt, lease),
            lambda reply: listing.enter(job_id, reply[1][1]) if reply[1:] else [],
        )

    def check_lease(self, job_id: str) -> RedisCommand[LeaseCheck]:
        """Read what a worker has to know of its job between two writes."""
        return RedisCommand(
            ("HMGET", self.keys.hash(job_id), "_k", "_c", "status"), _parse_lease_check
        )

    def write(
        self,
        job_id: str,
        attempt: Attempt,
        data: Mapping[str, Any],
        now: str,
        *,
        number: int,
        may_create: bool,
        enlist: bool = False,
        most_bytes: int = MAX_BYTES,
    ) -> RedisCommand[WriteResult]:
        """Write how far the worker is.

        Args:
            job_id: the job.
            attempt: the worker's.
            data: the fields.
            now: `updated_at`.
            number: grows with each write of an attempt: one that comes late changes nothing.
            may_create: whether a job that has disappeared is created again.
            enlist: whether the job is entered into its lists once more.
            most_bytes: how large the snapshot may be.
        """
        listing = self._listing
        added: str | int = json.dumps(
            [n for n, v in data.items() if n not in _OWN or (n in _OF_ATTEMPT and v is not None)]
        )
        args = self._args(job_id, attempt.ttl_seconds if may_create else None)
        args += [*listing.args_of(job_id, attempt.owner)]
        args += [
            *attempt.lease.args,
            most_bytes,
            int(may_create),
            attempt.number,
            attempt.begun,
            number,
        ]
        whole = {**attempt.base, **data} if may_create else data
        args += [attempt.life, added, int(enlist), *self._fields(whole, now, most_bytes)]
        return evalsha(
            scripts.WRITE,
            self._keys(job_id) + listing.keys_of(attempt.owner),
            args,
            partial(_parse_written, job_id),
            lambda reply: listing.enter(job_id, reply[2]) if reply[2:] else [],
        )

    @property
    def _listing(self) -> Listing:
        return Listing(self.keys, self.ttl_seconds)

    def _keys(self, job_id: str) -> list[str]:
        return [self.keys.hash(job_id), self.keys.outcome(job_id)]

    def _fields(self, data: Mapping[str, Any], now: str, most_bytes: int = MAX_BYTES) -> list[str]:
        given = {name: data[name] for name in checked_mapping(data) if name != "updated_at"}
        encoded = {**encode(given, self.default, most_bytes), "updated_at": f'"{now}"'}
        return [text for pair in encoded.items() for text in pair]

    def _args(self, job_id: str, ttl_seconds: int | None) -> list[str | int]:
        """Return what every script that writes is passed first: see `prelude.ARGUMENTS`."""
        if ttl_seconds is not None:
            check_ttl(ttl_seconds)
        own_ttl = "" if ttl_seconds is None else ttl_seconds
        seconds = [self.ttl_seconds, own_ttl, self.queued_seconds, self.ended_seconds]
        return [*seconds, self.database, self.keys.channel(job_id)]


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


def _parse_read(job_id: str, reply: Reply) -> Stored | None:
    read_at = int(reply[0])
    return decode(_pairs(reply[1]), read_at) or recall(reply[2], job_id, read_at)


def _parse_stored(job_id: str, reply: Reply) -> Stored:
    return _fail(job_id, reply) if isinstance(reply, list) else loads_answer(reply)


def _parse_attempt(lease: Lease, reply: Reply) -> Attempt | None:
    if reply[0] == scripts.SUPERSEDED:
        return None
    number, begun = loads(reply[1][0]), loads(reply[1][3])
    life, owner, ttl_seconds = map(loads, reply[1][1])
    return Attempt(
        number=number,
        base=loads_answer(reply[2]).fields,
        owner=owner,
        ttl_seconds=ttl_seconds,
        lease=lease,
        begun=begun,
        life=life,
        cancel_requested=_is_set(reply[1][2]),
    )


def _parse_lease_check(reply: Reply) -> LeaseCheck:
    token, flag, status = ("" if value is None else as_text(value) for value in reply)
    return LeaseCheck(token, flag == "1", status)


_REFUSALS = {
    scripts.MISSING: WriteResult.MISSING,
    scripts.FINISHED: WriteResult.ENDED,
    scripts.SUPERSEDED: WriteResult.SUPERSEDED,
    scripts.DELETED: WriteResult.DELETED,
}


def _parse_written(job_id: str, reply: Reply) -> WriteResult:
    if reply[0] == scripts.OK:
        return WriteResult.CANCEL if _is_set(reply[1]) else WriteResult.CONTINUE
    return _REFUSALS[reply[0]] if reply[0] in _REFUSALS else _fail(job_id, reply)


def _is_set(flag: str | bytes) -> bool:
    return as_text(flag) == "1"
