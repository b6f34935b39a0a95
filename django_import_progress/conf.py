"""The settings of `IMPORT_PROGRESS`, as typed properties; read anew each time, none at import."""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
import re
import reprlib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, cast

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .core.commands import ENDED_SECONDS, MAX_TTL_SECONDS, QUEUED_SECONDS
from .core.keys import NAMESPACE_RULE, is_namespace
from .redis.factory import is_redis_url, url_problem
from .redis.url_options import shown

SETTING = "IMPORT_PROGRESS"

Rule = Callable[..., Any]
"""`AUTHORIZE`: `(user, job, action) -> bool`, sync or async."""


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """One key of the setting."""

    default: Callable[[], Any]
    is_valid: Callable[[Any], bool]
    fix: str
    """What a valid value is: the end of «Set it to …»."""
    why: Callable[[Any], str] = lambda _: ""
    """What is wrong with a value, where that can be said more exactly."""
    shown: Callable[[Any], str] = reprlib.repr
    """A value as it may be shown."""

    def problem_with(self, value: Any) -> str:
        """Return what to say of a wrong value: itself, its type, and what is wrong with it."""
        why = f": {found}" if (found := self.why(value)) else ""
        return f"has a wrong value: {self.shown(value)} ({type(value).__name__}){why}"


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


def _is_whole_seconds(value: Any) -> bool:
    return type(value) is int and 0 < value <= MAX_TTL_SECONDS


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_rule(value: Any) -> bool:
    if not isinstance(value, str):
        return callable(value) and _takes_three(value)
    try:
        return _is_rule(rule) if not isinstance(rule := import_string(value), str) else False
    except (ImportError, TypeError, ValueError):  # The latter two for a path that begins with dots.
        return False


def _takes_three(rule: Callable[..., Any]) -> bool:
    try:
        inspect.signature(rule).bind("user", "job", "action")
    except TypeError:
        return False
    except ValueError:  # Some of those that are written in C do not say.
        return True
    return True


def _shown_url(value: Any) -> str:
    # A URL in a list, a dict or bytes has its password, too.
    is_harmless = value is None or isinstance(value, int | float)
    return shown(value) if isinstance(value, str) else repr(value) if is_harmless else "…"


def _is_mount(value: Any) -> bool:
    return value is None or (isinstance(value, str) and re.fullmatch(r"/|/\S+/", value) is not None)


_SECONDS = "a positive number of seconds"
_WHOLE_SECONDS = "a positive whole number of seconds"

KEYS: dict[str, Key] = {
    "REDIS_URL": Key(
        lambda: os.environ.get("REDIS_URL") or "redis://localhost:6379/0",
        is_redis_url,
        "a URL such as redis://localhost:6379/0, rediss://…, unix://…,"
        " redis+sentinel://host:port,host:port/service/db or redis+cluster://host:port;"
        " sharded_pubsub=yes or no for a Cluster",
        url_problem,
        _shown_url,
    ),
    "NAMESPACE": Key(lambda: "import_progress", is_namespace, NAMESPACE_RULE),
    "TTL_SECONDS": Key(lambda: 3600, _is_whole_seconds, _WHOLE_SECONDS),
    "QUEUED_SECONDS": Key(lambda: QUEUED_SECONDS, _is_whole_seconds, _WHOLE_SECONDS),
    "ENDED_SECONDS": Key(lambda: ENDED_SECONDS, _is_whole_seconds, _WHOLE_SECONDS),
    "WAITING_SECONDS": Key(lambda: 60, _is_positive, _SECONDS),
    "AUTHORIZE": Key(
        lambda: "django_import_progress.access.owner_or_staff",
        _is_rule,
        "a callable (user, job, action) -> bool, or the dotted path of one that can be imported",
    ),
    "HEARTBEAT_SECONDS": Key(lambda: 15, _is_positive, _SECONDS),
    "STALLED_AFTER_SECONDS": Key(lambda: 30, _is_positive, _SECONDS),
    "STREAM_SECONDS": Key(lambda: 3600, _is_positive, _SECONDS),
    "MAX_STREAMS": Key(lambda: 20_000, _is_count, "a positive whole number"),
    "MAX_STREAMS_PER_CLIENT": Key(lambda: 100, _is_count, "a positive whole number"),
    "MAX_UPDATES_PER_SECOND": Key(lambda: 10, _is_positive, "a positive number, whole or not"),
    "WEBSOCKET_URL": Key(
        lambda: None, _is_mount, "None, or the path of the WebSocket routes, such as /ws/progress/"
    ),
    "TICKET_SECONDS": Key(lambda: 86400, _is_whole_seconds, _WHOLE_SECONDS),
}


def _given() -> Any:
    return getattr(django_settings, SETTING, {})


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with the setting. It holds no secret: of a URL only where it leads to."""

    id: str
    message: str
    fix: str


def problems() -> list[Problem]:
    """Return all that is wrong with the setting."""
    given = _given()
    if not isinstance(given, Mapping):
        return [
            Problem("E001", f"{SETTING} is not a mapping.", f"Set it to a dict: {SETTING} = {{}}")
        ]
    unknown = [_unknown(name) for name in given if name not in KEYS]
    return unknown + [
        Problem("E003", f"{_place(name)} {key.problem_with(value)}.", f"Set it to {key.fix}.")
        for name, key in KEYS.items()
        if not key.is_valid(value := given.get(name, key.default()))
    ]


def _place(name: str) -> str:
    """Return where a key's value comes from."""
    if name == "REDIS_URL" and name not in _given() and os.environ.get(name):
        return "REDIS_URL in the environment"
    return f"{SETTING}[{name!r}]"


def _unknown(name: object) -> Problem:
    text = str(name).upper()
    close = get_close_matches(text, KEYS, n=1) or [key for key in KEYS if key.startswith(text)]
    fix = f"Did you mean {close[0]!r}?" if close else f"Known are: {', '.join(KEYS)}."
    return Problem("E002", f"{SETTING} has an unknown key {name!r}.", fix)


def _get(name: str) -> Any:
    key, given = KEYS[name], _given()
    value = given[name] if name in given else key.default()
    if not key.is_valid(value):
        raise ImproperlyConfigured(f"{_place(name)} {key.problem_with(value)}; set it to {key.fix}")
    return value


class Settings:
    """Typed access; each property raises `ImproperlyConfigured` for a wrong value."""

    @property
    def redis_url(self) -> str:
        """Where Redis is."""
        return cast(str, _get("REDIS_URL"))

    @property
    def namespace(self) -> str:
        """First part of every key and channel."""
        return cast(str, _get("NAMESPACE"))

    @property
    def ttl_seconds(self) -> int:
        """How long a snapshot outlives its last write."""
        return cast(int, _get("TTL_SECONDS"))

    @property
    def queued_seconds(self) -> int:
        """How long a queued job is kept."""
        return cast(int, _get("QUEUED_SECONDS"))

    @property
    def ended_seconds(self) -> int:
        """How long a job's outcome is remembered after its snapshot has expired."""
        return cast(int, _get("ENDED_SECONDS"))

    @property
    def waiting_seconds(self) -> float:
        """How long a page waits for a job that is not there."""
        return cast(float, _get("WAITING_SECONDS"))

    @property
    def authorize(self) -> Rule:
        """Who may watch or cancel a job by its bare id."""
        rule = _get("AUTHORIZE")
        return cast(Rule, import_string(rule) if isinstance(rule, str) else rule)

    @property
    def heartbeat_seconds(self) -> float:
        """An idle stream's keep-alive, and how often watched jobs are read again."""
        return cast(float, _get("HEARTBEAT_SECONDS"))

    @property
    def stalled_after_seconds(self) -> float:
        """Silence from a tracked worker after which its job is shown as stalled."""
        return cast(float, _get("STALLED_AFTER_SECONDS"))

    @property
    def stream_seconds(self) -> float:
        """The longest that one stream lives."""
        return cast(float, _get("STREAM_SECONDS"))

    @property
    def max_streams(self) -> int:
        """How many open streams a process serves."""
        return cast(int, _get("MAX_STREAMS"))

    @property
    def max_streams_per_client(self) -> int:
        """The same of one user, or one address where nobody is logged in."""
        return cast(int, _get("MAX_STREAMS_PER_CLIENT"))

    @property
    def max_updates_per_second(self) -> float:
        """The most that a watcher is sent of one job."""
        return cast(float, _get("MAX_UPDATES_PER_SECOND"))

    @property
    def websocket_url(self) -> str | None:
        """Where the WebSocket routes are mounted; None: nowhere."""
        return cast(str | None, _get("WEBSOCKET_URL"))

    @property
    def ticket_seconds(self) -> int:
        """How long a ticket is good for."""
        return cast(int, _get("TICKET_SECONDS"))

    @property
    def debug(self) -> bool:
        """Django's own `DEBUG`."""
        return bool(django_settings.DEBUG)


settings = Settings()
