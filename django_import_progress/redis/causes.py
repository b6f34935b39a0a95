"""Why Redis cannot be used, in words: from what a client raised, without repeating its text.

That text may hold a password, or what was to be written.
"""

from __future__ import annotations

import re
import socket
import ssl

from redis.asyncio.sentinel import MasterNotFoundError as AsyncMasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    InvalidResponse,
    MaxConnectionsError,
    RedisClusterException,
    SlotNotCoveredError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import MasterNotFoundError

DOCUMENTED = "see “Redis permissions” in the documentation of django-import-progress"
REFUSALS = {
    "NOAUTH|Authentication required": "it wants a password, and REDIS_URL has none",
    "without any password configured|no password is set": (
        "REDIS_URL has a password, but this Redis has none: leave it out"
    ),
    "WRONGPASS|invalid (username-)?password": "it does not accept the user or the password",
    "DB index is out of range|invalid DB index": "it has no database of the number in REDIS_URL",
    "SELECT is not allowed in cluster mode": "a Cluster has no other database than 0",
    "MOVED|CROSSSLOT|cluster support disabled": (
        "REDIS_URL is to name a Cluster as such, and only a Cluster: redis+cluster://…"
    ),
    "DENIED|protected mode": "it is in protected mode, and serves its own host only",
    "OOM|maxmemory": "its memory is full (maxmemory)",
    "READONLY|read only replica": "it is a replica, and takes no writes",
    "LOADING": "it is still loading its data",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "MISCONF": "it cannot save its data to disk, and takes no writes until it can",
    "NOREPLICAS": "it has too few replicas to take writes",
    "CLUSTERDOWN|TRYAGAIN": "the Cluster does not serve all hash slots",
    "BUSY": "it is busy with a script of somebody else's",
    "max number of clients": "it has as many clients as it takes (maxclients)",
    "No connection available": "all connections of this process are in use",
}
"""What a server says of itself, or a client of its connections."""

_NO_PRIMARY = "the sentinels know of no primary with the name in REDIS_URL that is up"
KINDS: dict[type[BaseException], str] = {
    ssl.SSLError: (
        "no TLS connection comes about; rediss:// is for servers that speak TLS, and some want a"
        " certificate of the client (ssl_certfile, ssl_keyfile)"
    ),
    socket.gaierror: "the name of its host cannot be resolved",
    ConnectionRefusedError: "nothing listens there (connection refused); is the server up?",
    ConnectionResetError: "it closed the connection; a server that speaks TLS wants rediss://",
    BrokenPipeError: "it closed the connection",
    FileNotFoundError: "there is no such socket, or no such certificate as REDIS_URL names",
    PermissionError: "this process may not open the socket or certificate that REDIS_URL names",
    AuthenticationError: "it does not accept the user or the password",
    AsyncMasterNotFoundError: _NO_PRIMARY,
    MasterNotFoundError: _NO_PRIMARY,
    ClusterDownError: "the Cluster does not serve all hash slots",
    SlotNotCoveredError: "the Cluster does not serve all hash slots",
    IndexError: "the Cluster does not serve all hash slots",
    RedisClusterException: "none of the Cluster's servers can be used as one",
    InvalidResponse: "what answers there is no Redis",
    MaxConnectionsError: "all connections of this process are in use",
    TimeoutError: "it does not respond in time",
    RedisTimeoutError: "it does not respond in time",
}
"""What a kind of error says, the first that it is of."""

_UNKNOWN = re.compile(
    r"unknown (?:redis )?command\W+(\w+)|(Invalid command passed to)", re.IGNORECASE
)
_FORBIDDEN = re.compile(r"to run the '([\w|-]+)' command")
_RIGHTS = re.compile("NOPERM|permission|ACL failure|user executing the script")


def cause_of(error: BaseException) -> str:
    """Return why a call failed, in words; empty if the cause is unknown."""
    text = str(error)
    by_text = _of_rights(text) or next(
        (words for pattern, words in REFUSALS.items() if re.search(pattern, text)), ""
    )
    # What came first says most: a refused connection, of a Cluster that cannot be used.
    return by_text or next(filter(None, map(_of_kind, _chain(error))), "")


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return what led to an error, the first cause first."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.insert(0, error)
        error = error.__cause__ or error.__context__
    return chain


def _of_kind(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its TLS certificate is not accepted ({error.verify_message})"
    return next((words for kind, words in KINDS.items() if isinstance(error, kind)), "")


def _of_rights(text: str) -> str:
    """Say which command, key or channel the user may not use."""
    if unknown := _UNKNOWN.search(text):
        name = (unknown[1] or "a command that is needed").upper()
        return f"it does not know {name}: renamed, or switched off? ({DOCUMENTED})"
    if not _RIGHTS.search(text):
        return ""
    if command := _FORBIDDEN.search(text):
        what = f"the command {command[1].upper()}, or may not use it here"
    elif "channel" in text:
        what = "its channel"
    else:
        what = "one of its keys" if "key" in text else "a command that is needed"
    return f"the user of REDIS_URL has no permission for {what} ({DOCUMENTED})"
