"""The options of a `REDIS_URL`: what redis-py would reject only when it connects is said before."""

from __future__ import annotations

import codecs
import os
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

MOST_SECONDS = 1e9
"""The operating system takes no longer time-out."""

T = TypeVar("T")
Check = Callable[[str], object]


def _succeeds(make: Callable[[str], T], holds: Callable[[T], object] = lambda _: True) -> Check:
    """Return a check: whether `make` accepts the text, and makes what it has to be."""

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
_CHOICE = (
    _is_choice("true", "false", "yes", "no", "y", "n", "t", "f", "1", "0"),
    "true or false",
)
_FILE = (lambda text: os.access(text, os.R_OK), "a file that is there, and may be read")
_WORD = (lambda text: re.fullmatch(r"[!-~]+", text), "a text without spaces")

OPTIONS: dict[str, tuple[Check, str]] = {
    "db": (_succeeds(int, lambda n: n >= 0), "the number of a database"),
    "username": _ANYTHING,
    "password": _ANYTHING,
    "client_name": _WORD,
    "lib_name": _WORD,
    "lib_version": _WORD,
    "protocol": (_is_choice("2", "3"), "2 or 3"),
    "max_connections": _COUNT,
    "timeout": _SECONDS,
    "socket_timeout": _SECONDS,
    "socket_connect_timeout": _SECONDS,
    "socket_read_size": _COUNT,
    "socket_keepalive": _CHOICE,
    "retry_on_timeout": _CHOICE,
    "health_check_interval": (_succeeds(int, lambda n: n >= 0), "a whole number of seconds"),
    "encoding": (_succeeds(codecs.lookup), "an encoding that Python knows"),
    "encoding_errors": (_succeeds(codecs.lookup_error), "an error handler that Python knows"),
    # redis-py takes any text for yes.
    "decode_responses": (_is_choice("true", "yes", "1"), "true, or left out"),
    "ssl_cert_reqs": (_is_choice("none", "optional", "required"), "none, optional or required"),
    "ssl_check_hostname": _CHOICE,
    "ssl_keyfile": _FILE,
    "ssl_certfile": _FILE,
    "ssl_ca_certs": _FILE,
    "ssl_ca_path": (lambda text: Path(text).is_dir(), "a folder that is there"),
    "ssl_ca_data": _ANYTHING,
    "ssl_password": _ANYTHING,
    "ssl_ciphers": (_succeeds(_set_ciphers), "ciphers that OpenSSL knows"),
    "ssl_min_version": (
        _succeeds(lambda text: ssl.TLSVersion(int(text)), lambda version: version > 0),
        f"{int(ssl.TLSVersion.TLSv1_2)} for TLS 1.2 or {int(ssl.TLSVersion.TLSv1_3)} for TLS 1.3",
    ),
}
"""What each has to be. Others that redis-py has cannot be said in a text."""

_CERT_REQS = re.compile(r"(?<=[?&])ssl_cert_reqs=(?:CERT_)?(\w*)", re.IGNORECASE)


def normalized(url: str) -> str:
    """Return a URL in redis-py's spelling: Celery's is ``ssl_cert_reqs=CERT_NONE``."""
    return _CERT_REQS.sub(lambda match: f"ssl_cert_reqs={match[1].lower()}", url)


def problem_with(url: str) -> str:
    """Return what is wrong with the path or the options of one server's URL; else nothing.

    It names the part, what it is and what it has to be, and holds no secret.
    """
    parts = urlsplit(url)
    options = {name: values[0] for name, values in parse_qs(parts.query).items()}
    wrong = next((n for n, text in options.items() if not _is_valid(n, text)), None)
    if wrong is not None and "@" in parts.query:  # It may be a part of the password.
        return "special characters in a password are to be percent-encoded: ? is %3F"
    if wrong is not None:
        return _problem(wrong)
    path = unquote(parts.path)
    if parts.scheme != "unix" and "db" not in options and not re.fullmatch(r"/?\d*/?", path):
        return "the database (str), its path, has to be a number, as in redis://host:6379/0"
    if parts.scheme != "rediss" and (tls := [name for name in options if name[:4] == "ssl_"]):
        return f"the option {tls[0]} is for rediss:// only"
    return ""


def _is_valid(name: str, text: str) -> bool:
    return name in OPTIONS and bool(OPTIONS[name][0](text))


def _problem(name: str) -> str:
    if name not in OPTIONS:
        return f"{name[:40]!a} is no option that a URL can have"
    return f"the option {name} (str) has to be {OPTIONS[name][1]}"


def shown(url: str) -> str:
    """Return as much of any URL, a wrong one too, as surely holds no secret."""
    scheme, is_url, rest = url.partition("://")
    if not is_url or not re.fullmatch(r"[a-z+]{1,20}", scheme):
        return repr(url) if re.fullmatch(r"[\w.-]{1,60}:\d{1,5}", url) else "a text that is no URL"
    location, _, query = rest.partition("?")
    place = location.rpartition("@")[2]
    is_plain = "@" not in query and re.fullmatch(r"[\w.,\[\]:/%-]*", place)
    if not is_plain or re.search(r":(?!\d{1,5}(?:[,/]|$))(?![^\[]*\])", place):
        place = "…"
    return repr(f"{scheme}://{place[:100]}")
