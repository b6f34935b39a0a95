"""Valid job ids and namespaces, and the names of keys, channels and groups."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import uuid

from .errors import InvalidJobId

JobId = str | uuid.UUID

# The unreserved characters of RFC 3986, and ":". None needs escaping in a URL, or is special to
# Redis (patterns, Cluster hash tags) or to a terminal.
_ID = re.compile(r"[A-Za-z0-9._:~-]{1,128}", re.ASCII)

# The same without ":", which separates the namespace from the rest of a key, and "~".
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
NAMESPACE_RULE = "1 to 128 characters out of A-Z a-z 0-9 . _ -"

# Valid names of groups in Channels. Source:
# https://channels.readthedocs.io/en/stable/topics/channel_layers.html#groups
_GROUP = re.compile(r"[A-Za-z0-9._-]{1,99}", re.ASCII)


def is_clean(text: object) -> bool:
    """Tell whether `text` is a valid job id."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def is_namespace(text: object) -> bool:
    """Tell whether `text` is a valid namespace."""
    return isinstance(text, str) and _NAMESPACE.fullmatch(text) is not None


def clean_namespace(namespace: object) -> None:
    """Raise an error if `namespace` is invalid.

    If a colon were allowed, two namespaces could share keys: the job ``hash:1`` of ``a`` and the
    job ``1`` of ``a:hash``, for example.

    Raises:
        ValueError: it is not a `str` of 1 to 128 of ``A-Z a-z 0-9 . _ -``.
    """
    if not is_namespace(namespace):
        raise ValueError(f"Invalid namespace {_shown(namespace)}: must be {NAMESPACE_RULE}")


def clean_job_id(job_id: JobId) -> str:
    """Return the job id as text.

    Raises:
        InvalidJobId: it is neither a `uuid.UUID` nor a `str` of 1 to 128 of
            ``A-Z a-z 0-9 . _ : ~ -``.
    """
    if isinstance(job_id, uuid.UUID):
        return str(job_id)
    if is_clean(job_id):
        return "".join(job_id)  # A plain str: str() of a str Enum would be its name.
    shown = _shown(job_id)
    raise InvalidJobId(
        f"Invalid job id {shown}: must be a uuid.UUID, or a str of 1 to 128 characters"
        " out of A-Z a-z 0-9 . _ : ~ -"
    )


def _shown(value: object) -> str:
    try:
        shown = repr(value)
    except ValueError:  # An int with more digits than Python converts to text.
        shown = f"of type {type(value).__name__}"
    return shown if len(shown) <= 80 else shown[:77] + "..."


@dataclasses.dataclass(frozen=True, slots=True)
class Keys:
    """The names that one namespace uses in Redis."""

    namespace: str
    clustered: bool = False
    """Whether each key may be on another server."""
    sharded: bool = False
    """Whether updates are published by the job's own server only: sharded pub/sub of a Cluster."""

    def __post_init__(self) -> None:
        clean_namespace(self.namespace)

    def hash(self, job_id: str) -> str:
        """Return the key of a job's hash."""
        return f"{self.namespace}:hash:{job_id}"

    def outcome(self, job_id: str) -> str:
        """Return the key of the record of a job that has ended or was deleted.

        In a Cluster it has the name of the hash as its hash tag, so that both are in one slot:
        https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
        """
        return f"{self.namespace}:end:{self._beside_hash(job_id)}"

    def rejects(self, job_id: str) -> str:
        """Return the key of the list of a job's rejected rows; in a Cluster it is in that slot."""
        return f"{self.namespace}:rejects:{self._beside_hash(job_id)}"

    def _beside_hash(self, job_id: str) -> str:
        return f"{{{self.hash(job_id)}}}" if self.clustered else job_id

    def channel(self, job_id: str) -> str:
        """Return the pub/sub channel of a job's updates.

        A sharded channel has the name of the job's hash: a script may publish only on channels in
        the slot of its keys. The names of channels and keys do not collide.
        """
        return self.hash(job_id) if self.sharded else f"{self.namespace}:channel:{job_id}"

    def index(self, owner: str | None = None) -> str:
        """Return the key of the sorted set of all jobs, or of one owner's jobs."""
        return f"{self.namespace}:jobs" if owner is None else f"{self.namespace}:owner:{owner}"

    def message(self, job_id: str) -> str:
        """Return the key of the token of the task queue message that is responsible for a job."""
        return f"{self.namespace}:message:{job_id}"

    def claim(self, job_id: str) -> str:
        """Return the key that a copy of a message sets before it continues a job."""
        return f"{self.namespace}:claim:{job_id}"

    def group(self, job_id: str | None = None) -> str:
        """Return the channel layer group that receives a job's updates, or those of all jobs.

        The name is readable if that is a valid name, otherwise a digest. All names are distinct: a
        readable one has no dot in its first part, and ``jobs`` or ``job`` as its second.
        """
        parts = [self.namespace, "jobs"] if job_id is None else [self.namespace, "job", job_id]
        name = ".".join(parts)
        if "." not in self.namespace and _GROUP.fullmatch(name):
            return name
        return f"import_progress.digest.{hashlib.sha256('/'.join(parts).encode()).hexdigest()}"
