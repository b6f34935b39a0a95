"""A `REDIS_URL`: checks of its options, and how it is shown without secrets.

Without these checks redis-py would reject some options only when it connects.
"""

from __future__ import annotations

import codecs
import os
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

MOST_SECONDS = 1e9
"""The longest time-out that the operating system accepts."""

T = TypeVar("T")
Check = Callable[[str], object]


def _succeeds(make: Callable[[str], T], holds: Callable[[T], object] = lambda _: True) -> Check:
    """Return a check: whether `make` accepts the text, and its result is valid."""

    def check(text: str) -> bool:
        try:
            return bool(holds(make(text)))
        except (ValueError, LookupError, ssl.SSLError, OverflowError):
            return False

    return check


def _is_choice(*words: str) -> Check:
    return lambda text: text.lower() in words


def _set_ciphers(text: str) -> None:
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(text)


_ANYTHING = (lambda text: True, "a text")
_SECONDS = (_succeeds(float, lambda n: 0 < n <= MOST_SECONDS), "a positive number of seconds")
_COUNT = (_succeeds(int, lambda n: n > 0), "a positive whole number")
_CHOICE = (_is_choice("true", "false", "yes", "no", "y", "n", "t", "f", "1", "0"), "true or false")
_FILE = (lambda text: os.access(text, os.R_OK), "a readable file")
_WORD = (lambda text: re.fullmatch(r"[!-~]+", text), "a text without spaces")

OPTIONS: dict[str, tuple[Check, str]] = {
    **dict.fromkeys(("username", "password", "ssl_ca_data", "ssl_password"), _ANYTHING),
    **dict.fromkeys(("client_name", "lib_name", "lib_version"), _WORD),
    **dict.fromkeys(("max_connections", "socket_read_size"), _COUNT),
    **dict.fromkeys(("timeout", "socket_timeout", "socket_connect_timeout"), _SECONDS),
    **dict.fromkeys(("socket_keepalive", "retry_on_timeout", "ssl_check_hostname"), _CHOICE),
    **dict.fromkeys(("ssl_keyfile", "ssl_certfile", "ssl_ca_certs"), _FILE),
    "db": (_succeeds(int, lambda n: n >= 0), "the number of a database"),
    "protocol": (_is_choice("2", "3"), "2 or 3"),
    "health_check_interval": (_succeeds(int, lambda n: n >= 0), "a whole number of seconds"),
    "encoding": (_succeeds(codecs.lookup), "an encoding known to Python"),
    "encoding_errors": (_succeeds(codecs.lookup_error), "an error handler known to Python"),
    # redis-py takes any text for true.
    "decode_responses": (_is_choice("true", "yes", "1"), "true, or omitted"),
    "ssl_cert_reqs": (_is_choice("none", "optional", "required"), "none, optional or required"),
    "ssl_ca_path": (lambda text: Path(text).is_dir(), "an existing folder"),
    "ssl_ciphers": (_succeeds(_set_ciphers), "ciphers known to OpenSSL"),
    "ssl_min_version": (
        _succeeds(lambda text: ssl.TLSVersion(int(text)), lambda version: version > 0),
        f"{int(ssl.TLSVersion.TLSv1_2)} for TLS 1.2 or {int(ssl.TLSVersion.TLSv1_3)} for TLS 1.3",
    ),
}
"""Checks and descriptions of the valid values. Other options of redis-py are not texts."""

_CERT_REQS = re.compile(r"(?<=[?&])ssl_cert_reqs=(?:CERT_)?(\w*)", re.IGNORECASE)


def normalized(url: str) -> str:
    """Return a URL in redis-py's spelling; Celery's is ``ssl_cert_reqs=CERT_NONE``."""
    return _CERT_REQS.sub(lambda match: f"ssl_cert_reqs={match[1].lower()}", url)


def problem_with(url: str) -> str:
    """Return what is wrong with the path or the options of one server's URL; empty if nothing is.

    The text names the part, its type and its valid values, and contains no secret.
    """
    parts = urlsplit(url)
    options = {name: values[0] for name, values in parse_qs(parts.query).items()}
    wrong = next((n for n, text in options.items() if not _is_valid(n, text)), None)
    if wrong is not None and "@" in parts.query:  # It may be a part of the password.
        return "special characters in a password must be percent-encoded: ? is %3F"
    if wrong is not None:
        return _problem(wrong)
    path = unquote(parts.path)
    if parts.scheme != "unix" and "db" not in options and not re.fullmatch(r"/?\d*/?", path):
        return "the database (str), its path, must be a number, as in redis://host:6379/0"
    if parts.scheme != "rediss" and (tls := [name for name in options if name[:4] == "ssl_"]):
        return f"the option {tls[0]} is for rediss:// only"
    return ""


def _is_valid(name: str, text: str) -> bool:
    return name in OPTIONS and bool(OPTIONS[name][0](text))


def _problem(name: str) -> str:
    if name not in OPTIONS:
        return f"{name[:40]!a} is not an option of a Redis URL"
    return f"the option {name} (str) must be {OPTIONS[name][1]}"


def shown(url: str) -> str:
    """Return the parts of a URL, which may be invalid, that cannot contain a secret."""
    scheme, is_url, rest = url.partition("://")
    if not is_url or not re.fullmatch(r"[a-z+]{1,20}", scheme):
        return (
            repr(url) if re.fullmatch(r"[\w.-]{1,60}:\d{1,5}", url) else "a text that is not a URL"
        )
    location, _, query = rest.partition("?")
    host = location.rpartition("@")[2]
    is_plain = "@" not in query and re.fullmatch(r"[\w.,\[\]:/%-]*", host)
    if not is_plain or re.search(r":(?!\d{1,5}(?:[,/]|$))(?![^\[]*\])", host):
        host = "…"
    return repr(f"{scheme}://{host[:100]}")


def location_of(redis: Any) -> str:
    """Return host and port of a client's server, the path of its socket, or its first hosts.

    The text contains no user, password or options.

    Args:
        redis: a client of any kind.
    """
    if (hosts := getattr(redis, "hosts", None)) is not None:  # A Cluster, not connected.
        return ", ".join(hosts)
    if (nodes := getattr(redis, "nodes_manager", None)) is not None:
        return ", ".join(nodes.startup_nodes)
    pool = redis.connection_pool
    sentinels = getattr(pool, "sentinel_manager", None)
    if sentinels is None:
        return _location(pool.connection_kwargs)
    hosts = (
        _location(sentinel.connection_pool.connection_kwargs) for sentinel in sentinels.sentinels
    )
    return f"{pool.service_name}, by its sentinels {', '.join(hosts)}"


def _location(options: dict[str, Any]) -> str:
    host, port = options.get("host", "localhost"), options.get("port", 6379)
    return str(options.get("path") or f"{host}:{port}")
