"""What a job id may be, and the names of the keys and channels in Redis."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import uuid

from .errors import InvalidJobId

JobId = str | uuid.UUID

# The alphabet is what RFC 3986 calls unreserved, and ":". None of it needs escaping in a URL, none
# is special to Redis (patterns, Cluster hash tags) or to a terminal.
_ID = re.compile(r"[A-Za-z0-9._:~-]{1,128}", re.ASCII)

# The same without ":", which parts a namespace from the rest of a key, and "~".
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
NAMESPACE_RULE = "1 to 128 characters out of A-Z a-z 0-9 . _ -"

# What Channels lets a group be called. Source:
# https://channels.readthedocs.io/en/stable/topics/channel_layers.html#groups
_GROUP = re.compile(r"[A-Za-z0-9._-]{1,99}", re.ASCII)


def is_clean(text: object) -> bool:
    """Tell whether `text` may be a job id as it stands."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def is_namespace(text: object) -> bool:
    """Tell whether `text` may be a namespace."""
    return isinstance(text, str) and _NAMESPACE.fullmatch(text) is not None


def clean_namespace(namespace: object) -> None:
    """Refuse what cannot be a namespace.

    With a colon in it, two namespaces would share keys: the job ``hash:1`` of ``a`` and the job
    ``1`` of ``a:hash``, for example.

    Raises:
        ValueError: it is not a `str` of 1 to 128 of ``A-Z a-z 0-9 . _ -``.
    """
    if not is_namespace(namespace):
        raise ValueError(f"{_shown(namespace)} is no namespace: use {NAMESPACE_RULE}")


def clean_job_id(job_id: JobId) -> str:
    """Return the job id as text.

    Raises:
        InvalidJobId: it is neither a `uuid.UUID` nor a `str` of 1 to 128 of
            ``A-Z a-z 0-9 . _ : ~ -``.
    """
    if isinstance(job_id, uuid.UUID):
        return str(job_id)
    if is_clean(job_id):
        return "".join(job_id)  # Of a subclass, its text: str() of an Enum would be its name.
    shown = _shown(job_id)
    raise InvalidJobId(
        f"{shown} is no job id: pass a uuid.UUID, or a str of 1 to 128 characters"
        " out of A-Z a-z 0-9 . _ : ~ -"
    )


def _shown(value: object) -> str:
    try:
        shown = repr(value)
    except ValueError:  # An int of more digits than Python writes.
        shown = f"This {type(value).__name__}"
    return shown if len(shown) <= 80 else shown[:77] + "..."


@dataclasses.dataclass(frozen=True, slots=True)
class Keys:
    """The names in Redis of one namespace."""

    namespace: str
    clustered: bool = False
    """Whether each key may live on another server."""
    sharded: bool = False
    """Whether a job is told by the server alone that has it: sharded pub/sub of a Cluster."""

    def __post_init__(self) -> None:
        clean_namespace(self.namespace)

    def hash(self, job_id: str) -> str:
        """The key of a job's hash."""
        return f"{self.namespace}:hash:{job_id}"

    def outcome(self, job_id: str) -> str:
        """The key of what is remembered of a job that has ended or was deleted.

        In a Cluster it must be in the slot of the hash, and so has its name as a hash tag:
        https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
        """
        name = f"{{{self.hash(job_id)}}}" if self.clustered else job_id
        return f"{self.namespace}:end:{name}"

    def channel(self, job_id: str) -> str:
        """The pub/sub channel on which a job is told.

        A sharded one has the name of the job's hash: a script may tell only on channels of its
        keys' slot, and no other name is sure to be in it. A channel and a key never collide.
        """
        return self.hash(job_id) if self.sharded else f"{self.namespace}:channel:{job_id}"

    def index(self, owner: str | None = None) -> str:
        """The key of the sorted set that lists the jobs: all of them, or one owner's."""
        return f"{self.namespace}:jobs" if owner is None else f"{self.namespace}:owner:{owner}"

    def group(self, job_id: str | None = None) -> str:
        """The channel layer's group in which a job is told; where none is given, all jobs are.

        Readable where that is a legal name, a digest else. No two are the same: a readable one has
        no dot in its first part, and ``jobs`` or ``job`` for its second.
        """
        parts = [self.namespace, "jobs"] if job_id is None else [self.namespace, "job", job_id]
        name = ".".join(parts)
        if "." not in self.namespace and _GROUP.fullmatch(name):
            return name
        return f"import_progress.digest.{hashlib.sha256('/'.join(parts).encode()).hexdigest()}"
