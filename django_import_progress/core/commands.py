"""The Redis commands of every operation on jobs, as data. Nothing is sent here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from .command import Plan, RedisCommand, Reply, evalsha
from .errors import InvalidProgress, JobExists, JobFinished, JobNotFound
from .job_index import Listing, owner_json
from .keys import Keys
from .lease import Attempt, Lease, LeaseCheck, WriteResult
from .lua import scripts
from .outcome import LostRun, RunState, parse_lost, parse_previous, parse_run, recall
from .rejects import Report, add_rejects, read_rejects
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
    loads_reply,
)

MAX_TTL_SECONDS = 10_000_000_000
"""About 317 years: Redis rejects an expiry that overflows 64 bits of milliseconds."""
QUEUED_SECONDS = 7 * 24 * 3600
"""How long a queued job is kept by default."""
ENDED_SECONDS = 7 * 24 * 3600
"""How long a job's outcome is kept by default after its snapshot has expired."""
MAX_OWNER_LENGTH = 255
_KEYS_WITHOUT_STR = (int, float, tuple)
"""Types without a `__str__` of their own; a tuple is a composite primary key."""

_OWN = KNOWN | TRACKED
_OF_ATTEMPT = frozenset({"stage", "total_rows"})
"""These count as added by the attempt that sets them: the next attempt starts without them."""

NOBODY = ""
"""The owner of an anonymous visitor: their jobs have no owner, and their list of jobs is empty."""


def check_ttl(ttl_seconds: object) -> None:
    """Raise `InvalidProgress` unless it is a positive int of at most `MAX_TTL_SECONDS`."""
    if type(ttl_seconds) is not int or not 0 < ttl_seconds <= MAX_TTL_SECONDS:
        raise InvalidProgress(
            f"Invalid ttl_seconds {ttl_seconds!r}: must be a positive integer,"
            f" at most {MAX_TTL_SECONDS:,}"
        )


def clean_owner(owner: Any) -> str | None:
    """Return the primary key of an owner as text.

    An anonymous user becomes `NOBODY`, not None: None lists the jobs of all owners.

    Args:
        owner: a user (anything with `pk`), or the primary key itself.

    Raises:
        InvalidProgress: the user is not saved, the key is longer than 255 characters, or its type
            cannot be that of a primary key.
    """
    if owner is None:
        return None
    if getattr(owner, "is_anonymous", False) and not isinstance(owner, type):
        return NOBODY
    key = getattr(owner, "pk", owner)
    text = str(key) if _can_be_a_key(key) else ""
    if not 0 < len(text) <= MAX_OWNER_LENGTH or not text.isprintable():
        # Anything but text is named by its type: the repr of a queryset would query the database.
        what = ascii(owner) if isinstance(owner, str) else f"of type {owner.__class__.__name__}"
        raise InvalidProgress(
            f"Invalid owner {what[:MAX_OWNER_LENGTH]}: must be a saved user or a primary key of"
            f" 1 to {MAX_OWNER_LENGTH} printable characters"
        )
    return text


def _can_be_a_key(key: Any) -> bool:
    """Tell whether `str(key)` is more than a representation for debugging.

    It is not for a request, a method, a queryset or a coroutine that was not awaited.
    """
    kind: Any = key.__class__  # For a lazy object: the class of the wrapped one.
    if issubclass(kind, _KEYS_WITHOUT_STR):
        return kind is not bool
    return bool(kind.__str__ is not object.__str__)


@dataclasses.dataclass(frozen=True, slots=True)
class JobCommands:
    """The Redis commands of one namespace.

    Each method checks its arguments and raises `InvalidProgress` before anything is sent.
    """

    keys: Keys
    ttl_seconds: int
    default: JsonDefault
    """Encodes values that JSON does not support."""
    queued_seconds: int = QUEUED_SECONDS
    ended_seconds: int = ENDED_SECONDS
    database: int = 0
    """The number of the database. All databases of a server share the same channels."""
    nonce: Callable[[], str] = str
    """Returns 8 characters that identify a command, so that one which is sent twice is executed
    once. Empty: the command is not identified."""

    def get(self, job_id: str) -> RedisCommand[Stored | None]:
        """Read a job, or its remembered outcome."""
        return evalsha(scripts.READ, self._keys(job_id), [], partial(_parse_read, job_id))

    def cancel(self, job_id: str, owner: str | None = None) -> RedisCommand[bool]:
        """Request cancellation; with `owner`, only if the job still has that owner."""
        args = [*self._args(job_id, None), owner_json(owner), self.nonce()]
        return evalsha(
            scripts.CANCEL, self._keys(job_id), args, lambda reply: bool(reply[0] == scripts.OK)
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
        """Merge fields into a job's snapshot, and publish the whole snapshot."""
        args = [*self._args(job_id, ttl_seconds), MAX_BYTES, self.nonce()]
        args += self._fields(data, now)
        return evalsha(scripts.UPDATE, self._keys(job_id), args, partial(_parse_stored, job_id))

    def publish(
        self, job_id: str, data: Mapping[str, Any], now: str | None, written: Written | None
    ) -> RedisCommand[int]:
        """Publish fields on a job's channel without storing them.

        Args:
            job_id: the job.
            data: the fields.
            now: `updated_at` if `data` has none; None adds none.
            written: the snapshot on which the publisher builds; None is the one stored now.
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
        """Create a job, unless it exists."""
        listing = self._listing
        args = [*self._args(job_id, ttl_seconds), *listing.args_of(job_id, owner), self.nonce()]
        args += self._fields({"status": "queued", **checked_mapping(data)}, now)
        return evalsha(
            scripts.CREATE,
            self._keys(job_id) + listing.keys_of(owner),
            args,
            lambda reply: job_id if reply[0] == scripts.OK else _fail(job_id, reply),
            lambda reply: listing.enter(job_id, reply[1]),
        )

    def delete(self, job_id: str) -> RedisCommand[bool]:
        """Delete a job, and publish the deletion."""
        args = [*self._args(job_id, None), self.nonce()]
        keys = [*self._keys(job_id), self.keys.rejects(job_id)]
        return evalsha(scripts.DELETE, keys, args, lambda reply: bool(reply[1]))

    def jobs(self, owner: str | None, limit: int) -> Plan[dict[str, Stored]]:
        """Return the jobs by id, newest first."""
        return self._listing.jobs(owner, limit, self.get)

    def jobs_since(self, life: int) -> RedisCommand[list[tuple[str, int]]]:
        """Return ids and lives of all jobs that were created at `life` or later, newest first."""
        return self._listing.since(life)

    def begin(
        self, job_id: str, owner: str | None, lease: Lease, data: Mapping[str, Any], now: str
    ) -> RedisCommand[Attempt | None]:
        """Start a new attempt at a job, without the fields that the previous attempt added.

        The result is None if this command was executed before and a newer attempt has taken the
        job since.
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
        """Read whether the worker still has the job, and whether it is to stop."""
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
        """Write a worker's progress.

        Args:
            job_id: the job.
            attempt: the worker's attempt.
            data: the fields.
            now: `updated_at`.
            number: increases with each write of an attempt; a late write changes nothing.
            may_create: whether to recreate a job that has disappeared.
            enlist: whether to enter the job into its lists again.
            most_bytes: the maximum size of the snapshot.
        """
        listing = self._listing
        added: str | int = json.dumps(
            [n for n, v in data.items() if n not in _OWN or (n in _OF_ATTEMPT and v is not None)]
        )
        args = self._args(job_id, attempt.ttl_seconds if may_create else None)
        args += listing.args_of(job_id, attempt.owner)
        args += [*attempt.lease.args, most_bytes, int(may_create), attempt.number, attempt.begun]
        whole = {**attempt.base, **data} if may_create else data
        args += [number, attempt.life, added, int(enlist), *self._fields(whole, now, most_bytes)]
        return evalsha(
            scripts.WRITE,
            self._keys(job_id) + listing.keys_of(attempt.owner),
            args,
            partial(_parse_written, job_id),
            lambda reply: listing.enter(job_id, reply[2]) if reply[2:] else [],
        )

    def run(self, job_id: str) -> RedisCommand[RunState]:
        """Read the last attempt at a job."""
        return evalsha(scripts.READ, self._keys(job_id), [], partial(parse_run, job_id))

    def end_lost(
        self,
        job_id: str,
        data: Mapping[str, Any],
        now: str,
        *,
        lost_after_seconds: float,
        run_id: str | None = None,
    ) -> RedisCommand[LostRun | None]:
        """End a job whose worker's lease expired long enough ago; the result is None if it did not.

        Args:
            job_id: the job.
            data: the final fields.
            now: `updated_at`.
            lost_after_seconds: for how long the lease must have expired, by Redis's clock.
            run_id: the attempt's token; None: any.
        """
        token = "" if run_id is None else json.dumps(run_id)
        args = [*self._args(job_id, None), token, f"{lost_after_seconds * 1e6:.0f}", self.nonce()]
        args += self._fields(data, now)
        return evalsha(scripts.END_LOST, self._keys(job_id), args, parse_lost)

    def add_rejects(
        self, job_id: str, token: str, entries: Sequence[bytes], *, stored: int
    ) -> RedisCommand[int]:
        """Append rejected rows to the report of an attempt: see `rejects.add_rejects`."""
        return add_rejects(self._reject_keys(job_id), token, stored, entries, self.ttl_seconds)

    def read_rejects(self, job_id: str) -> RedisCommand[Report]:
        """Read the report of a job's rejected rows."""
        return read_rejects(self._reject_keys(job_id))

    @property
    def _listing(self) -> Listing:
        return Listing(self.keys, self.ttl_seconds)

    def _reject_keys(self, job_id: str) -> list[str]:
        return [self.keys.hash(job_id), self.keys.rejects(job_id)]

    def _keys(self, job_id: str) -> list[str]:
        return [self.keys.hash(job_id), self.keys.outcome(job_id)]

    def _fields(self, data: Mapping[str, Any], now: str, most_bytes: int = MAX_BYTES) -> list[str]:
        given = {name: data[name] for name in checked_mapping(data) if name != "updated_at"}
        encoded = {**encode(given, self.default, most_bytes), "updated_at": f'"{now}"'}
        return [text for pair in encoded.items() for text in pair]

    def _args(self, job_id: str, ttl_seconds: int | None) -> list[str | int]:
        """Return the first arguments of every script that writes: see `prelude.ARGUMENTS`."""
        if ttl_seconds is not None:
            check_ttl(ttl_seconds)
        own_ttl = "" if ttl_seconds is None else ttl_seconds
        seconds = [self.ttl_seconds, own_ttl, self.queued_seconds, self.ended_seconds]
        return [*seconds, self.database, self.keys.channel(job_id)]


def _fail(job_id: str, reply: Reply) -> NoReturn:
    raise {
        scripts.MISSING: JobNotFound(
            f"Job {job_id} does not exist or has expired: create it first"
        ),
        scripts.FINISHED: JobFinished(
            f"Job {job_id} has ended and accepts no updates;"
            " set_progress or track_import restart it"
        ),
        scripts.TOO_LARGE: InvalidProgress(
            f"The merged snapshot would be {reply[-1]} bytes of JSON; the maximum is {MAX_BYTES}"
        ),
        scripts.EXISTS: JobExists(
            f"Job {job_id} already exists: choose another id, or omit it to get a new one;"
            " track_import takes over an existing job"
        ),
    }[reply[0]]


def _pairs(flat: list[str | bytes]) -> dict[str | bytes, str | bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _parse_read(job_id: str, reply: Reply) -> Stored | None:
    read_at = int(reply[0])
    return decode(_pairs(reply[1]), read_at) or recall(reply[2], job_id, read_at)


def _parse_stored(job_id: str, reply: Reply) -> Stored:
    return _fail(job_id, reply) if isinstance(reply, list) else loads_reply(reply)


def _parse_attempt(lease: Lease, reply: Reply) -> Attempt | None:
    if reply[0] == scripts.SUPERSEDED:
        return None
    number, begun = loads(reply[1][0]), loads(reply[1][3])
    life, owner, ttl_seconds = map(loads, reply[1][1])
    return Attempt(
        number=number,
        base=loads_reply(reply[2]).fields,
        owner=owner,
        ttl_seconds=ttl_seconds,
        lease=lease,
        begun=begun,
        life=life,
        cancel_requested=_is_set(reply[1][2]),
        previous=parse_previous(reply[3], reply[4]),
    )


def _parse_lease_check(reply: Reply) -> LeaseCheck:
    token, flag, status = ("" if value is None else as_text(value) for value in reply)
    return LeaseCheck(token, flag == "1", status)


_REJECTIONS = {
    scripts.MISSING: WriteResult.MISSING,
    scripts.FINISHED: WriteResult.ENDED,
    scripts.SUPERSEDED: WriteResult.SUPERSEDED,
    scripts.DELETED: WriteResult.DELETED,
}


def _parse_written(job_id: str, reply: Reply) -> WriteResult:
    if reply[0] == scripts.OK:
        return WriteResult.CANCEL if _is_set(reply[1]) else WriteResult.CONTINUE
    return _REJECTIONS[reply[0]] if reply[0] in _REJECTIONS else _fail(job_id, reply)


def _is_set(flag: str | bytes) -> bool:
    return as_text(flag) == "1"
