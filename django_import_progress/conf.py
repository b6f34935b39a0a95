"""The settings in `IMPORT_PROGRESS`: their defaults, their validation, and typed access to them."""

from __future__ import annotations

import inspect
import math
import os
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Generic, TypeVar, cast

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .core.commands import ENDED_SECONDS, MAX_TTL_SECONDS, QUEUED_SECONDS
from .core.keys import NAMESPACE_RULE, is_namespace
from .core.rejects import REJECTS_MAX_BYTES
from .redis.embedded import missing_server
from .redis.factory import is_redis_url, url_problem
from .redis.url import shown

T = TypeVar("T")

SETTING = "IMPORT_PROGRESS"
EMBEDDED = "embedded://"

Rule = Callable[..., Any]
"""`AUTHORIZE`: `(user, job, action) -> bool`, sync or async."""


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


def _is_whole_seconds(value: Any) -> bool:
    return type(value) is int and 0 < value <= MAX_TTL_SECONDS


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_rule(value: Any) -> bool:
    if not isinstance(value, str):
        return callable(value) and _takes(value, "user", "job", "action")
    try:
        return _is_rule(rule) if not isinstance(rule := import_string(value), str) else False
    except (ImportError, TypeError, ValueError):  # The latter two if the path begins with a dot.
        return False


def _is_namespace_setting(value: Any) -> bool:
    if callable(value):
        return _takes(value) and not inspect.iscoroutinefunction(value)
    return is_namespace(value)


def _current_namespace(value: str | Callable[[], Any]) -> str:
    """Return the namespace that a valid setting stands for now.

    Raises:
        ImproperlyConfigured: the setting is a callable that returned something else.
    """
    namespace = value() if callable(value) else value
    if not is_namespace(namespace):
        name = getattr(value, "__qualname__", type(value).__name__)
        raise ImproperlyConfigured(
            f"{SETTING}['NAMESPACE'] is the callable {name}, which returned"
            f" {reprlib.repr(namespace)} ({type(namespace).__name__}); it must return"
            f" {NAMESPACE_RULE}"
        )
    return cast(str, namespace)


def _takes(function: Callable[..., Any], *arguments: str) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # Some functions written in C have no signature.
        return True
    return True


def _is_mount(value: Any) -> bool:
    return value is None or (isinstance(value, str) and re.fullmatch(r"/|/\S+/", value) is not None)


def _shown_url(value: Any) -> str:
    # A URL in a list, a dict or bytes also contains its password.
    is_harmless = value is None or isinstance(value, int | float)
    return shown(value) if isinstance(value, str) else repr(value) if is_harmless else "…"


def _given() -> Any:
    return getattr(django_settings, SETTING, {})


@dataclass(eq=False)
class Key(Generic[T]):
    """A key of `IMPORT_PROGRESS`; as an attribute of `Settings` it returns the validated value.

    A value is validated when it is used for the first time.
    """

    default: Any
    is_valid: Callable[[Any], bool]
    fix: str
    """Describes valid values; ends the sentence "Set it to …"."""
    load: Callable[[Any], T] = lambda value: cast(T, value)
    """Returns what the attribute returns for a valid value."""
    why: Callable[[Any], str] = lambda _: ""
    """Explains what is wrong with a value; empty if it cannot."""
    shown: Callable[[Any], str] = reprlib.repr
    """Formats a value without secrets."""
    in_environment: bool = False
    """Whether an environment variable of the same name replaces the default."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name.upper()
        self._validated = object()

    def __get__(self, instance: object, owner: type) -> T:
        """Return the value.

        Raises:
            ImproperlyConfigured: it is wrong.
        """
        value = self.value()
        if value is not self._validated:
            if not self.is_valid(value):
                raise ImproperlyConfigured(f"{self.problem_with(value)}; set it to {self.fix}")
            self._validated = value
        return self.load(value)

    def value(self) -> Any:
        """Return the value, whether or not it is valid."""
        given = _given()
        return given[self.name] if self.name in given else self._environment() or self.default

    def is_set(self) -> bool:
        """Tell whether the project sets the key, in the settings or in the environment."""
        return self.name in _given() or bool(self._environment())

    def _environment(self) -> str | None:
        return os.environ.get(self.name) if self.in_environment else None

    def problem_with(self, value: Any) -> str:
        """Describe a wrong value: where it comes from, its type, and what is wrong with it."""
        is_given = self.name in _given() or not self._environment()
        place = f"{SETTING}[{self.name!r}]" if is_given else f"{self.name} in the environment"
        why = f": {found}" if (found := self.why(value)) else ""
        return f"{place} has a wrong value: {self.shown(value)} ({type(value).__name__}){why}"


_SECONDS = "a positive number of seconds"
_WHOLE_SECONDS = "a positive whole number of seconds"


class _RedisUrl(Key[str]):
    """`REDIS_URL`, which is `embedded://` by default where that is good enough and possible."""

    def value(self) -> Any:
        if not self.is_set() and django_settings.DEBUG and not missing_server():
            return EMBEDDED
        return super().value()


class Settings:
    """Typed access to the settings; a wrong value raises `ImproperlyConfigured`."""

    redis_url = _RedisUrl(
        "redis://localhost:6379/0",
        is_redis_url,
        "a URL such as redis://localhost:6379/0, rediss://…, unix://…,"
        " redis+sentinel://host:port,host:port/service/db, redis+cluster://host:port or"
        " embedded://; sharded_pubsub=yes or no for a Cluster",
        why=url_problem,
        shown=_shown_url,
        in_environment=True,
    )
    """URL of the Redis server."""
    namespace = Key[str](
        "import_progress",
        _is_namespace_setting,
        f"{NAMESPACE_RULE}, or a callable without arguments that returns one",
        load=_current_namespace,
    )
    """First part of every key and channel. A callable is called for each use."""
    ttl_seconds = Key[int](3600, _is_whole_seconds, _WHOLE_SECONDS)
    """How long a snapshot is kept after its last write."""
    queued_seconds = Key[int](QUEUED_SECONDS, _is_whole_seconds, _WHOLE_SECONDS)
    """How long a queued job is kept after its last write."""
    ended_seconds = Key[int](ENDED_SECONDS, _is_whole_seconds, _WHOLE_SECONDS)
    """How long a job's outcome is kept after its snapshot has expired."""
    waiting_seconds = Key[float](60, _is_positive, _SECONDS)
    """How long a page waits for a job that does not exist."""
    authorize = Key[Rule](
        "django_import_progress.access.owner_or_staff",
        _is_rule,
        "a callable (user, job, action) -> bool, or the dotted path of one that can be imported",
        load=lambda rule: import_string(rule) if isinstance(rule, str) else rule,
    )
    """The rule that decides who may watch or cancel a job by its bare id."""
    heartbeat_seconds = Key[float](15, _is_positive, _SECONDS)
    """Interval of keep-alives on idle streams, and of re-reading watched jobs."""
    stalled_after_seconds = Key[float](30, _is_positive, _SECONDS)
    """How long a tracked worker may be silent before its job is shown as stalled."""
    lost_after_seconds = Key[float](600, _is_positive, _SECONDS)
    """How long a job must have been stalled before it is ended as lost."""
    stream_seconds = Key[float](3600, _is_positive, _SECONDS)
    """Maximum lifetime of a stream."""
    max_streams = Key[int](20_000, _is_count, "a positive whole number")
    """Maximum number of open streams in a process."""
    max_streams_per_client = Key[int](100, _is_count, "a positive whole number")
    """Maximum number of open streams for a user, or for an address without a login."""
    max_updates_per_second = Key[float](10, _is_positive, "a positive number, whole or not")
    """Maximum rate of updates that a watcher gets of one job."""
    websocket_url = Key[str | None](
        None, _is_mount, "None, or the path of the WebSocket routes, such as /ws/progress/"
    )
    """Path of the WebSocket routes; None if they are not used."""
    ticket_seconds = Key[int](86400, _is_whole_seconds, _WHOLE_SECONDS)
    """How long a ticket is valid."""
    rejects_max_bytes = Key[int](REJECTS_MAX_BYTES, _is_count, "a positive whole number of bytes")
    """Maximum size of the report of a job's rejected rows."""

    @property
    def has_tenants(self) -> bool:
        """Whether `NAMESPACE` is a callable, so that it depends on the request or task."""
        return callable(KEYS["NAMESPACE"].value())

    @property
    def debug(self) -> bool:
        """Django's own `DEBUG`."""
        return bool(django_settings.DEBUG)


KEYS: dict[str, Key[Any]] = {
    key.name: key for key in vars(Settings).values() if isinstance(key, Key)
}
settings = Settings()


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem with the setting. Contains no secrets: URLs are shown without their password."""

    id: str
    message: str
    fix: str


def problems() -> list[Problem]:
    """Return everything that is wrong with the setting."""
    given = _given()
    if not isinstance(given, Mapping):
        return [
            Problem("E001", f"{SETTING} is not a mapping.", f"Set it to a dict: {SETTING} = {{}}")
        ]
    unknown = [_unknown(name) for name in given if name not in KEYS]
    return unknown + [
        Problem("E003", f"{key.problem_with(value)}.", f"Set it to {key.fix}.")
        for key in KEYS.values()
        if not key.is_valid(value := key.value())
    ]


def _unknown(name: object) -> Problem:
    text = str(name).upper()
    close = get_close_matches(text, KEYS, n=1) or [key for key in KEYS if key.startswith(text)]
    fix = f"Did you mean {close[0]!r}?" if close else f"Known keys: {', '.join(KEYS)}."
    return Problem("E002", f"{SETTING} has an unknown key {name!r}.", fix)
