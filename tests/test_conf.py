"""Settings and their system checks."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.apps import apps
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import lazystr

from django_import_progress.access import owner_or_staff
from django_import_progress.conf import KEYS
from django_import_progress.conf import settings as ours
from django_import_progress.redis.embedded import missing_server


def messages() -> list[tuple[str | None, str, str | None]]:
    ours = apps.get_app_config("django_import_progress")
    return [(m.id, m.msg, m.hint) for m in checks.run_checks(app_configs=[ours])]


def test_every_key_has_a_default_that_passes(settings: Any) -> None:
    del settings.IMPORT_PROGRESS
    assert messages() == []


def test_defaults(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    del settings.IMPORT_PROGRESS
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert ours.redis_url == "redis://localhost:6379/0"
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere/1")
    assert ours.redis_url == "redis://elsewhere/1"
    assert ours.namespace == "import_progress"
    assert ours.ttl_seconds == 3600
    assert ours.waiting_seconds == 60
    assert ours.heartbeat_seconds == 15
    assert ours.stream_seconds == 3600
    assert ours.max_streams_per_client == 100
    assert ours.websocket_url is None
    assert ours.ticket_seconds == 86400
    assert ours.authorize is owner_or_staff


def test_an_unknown_key_is_an_error_that_knows_what_was_meant(settings: Any) -> None:
    settings.IMPORT_PROGRESS = {"TTL_SECOND": 1, 7: 7}
    assert messages() == [
        (
            "django_import_progress.E002",
            "IMPORT_PROGRESS has an unknown key 'TTL_SECOND'.",
            "Did you mean 'TTL_SECONDS'?",
        ),
        (
            "django_import_progress.E002",
            "IMPORT_PROGRESS has an unknown key 7.",
            f"Known keys: {', '.join(KEYS)}.",
        ),
    ]


@pytest.mark.parametrize(
    ("name", "meant"), [("redis_url", "REDIS_URL"), ("TTL", "TTL_SECONDS"), ("max_streams", None)]
)
def test_a_key_in_small_letters_or_cut_short_is_known(
    settings: Any, name: str, meant: str | None
) -> None:
    settings.IMPORT_PROGRESS = {name: 1}
    assert messages()[0][2] == f"Did you mean {meant or name.upper()!r}?"


def test_no_mapping_at_all(settings: Any) -> None:
    settings.IMPORT_PROGRESS = ["TTL_SECONDS"]
    assert [m[0] for m in messages()] == ["django_import_progress.E001"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "http://user:secret@localhost"),
        ("REDIS_URL", None),
        ("REDIS_URL", "redis://u:secret#x@localhost"),
        ("REDIS_URL", "redis://localhost:port/0"),
        ("REDIS_URL", "redis://localhost/0?socket_timeout=secret"),
        ("REDIS_URL", "redis://localhost/0?nonsense=1"),
        ("NAMESPACE", ""),
        ("NAMESPACE", "a b"),
        ("NAMESPACE", "a:hash"),
        ("NAMESPACE", "a~b"),
        ("TTL_SECONDS", 0),
        ("TTL_SECONDS", True),
        ("TTL_SECONDS", 1.5),
        ("WAITING_SECONDS", 0),
        ("WAITING_SECONDS", float("inf")),
        ("WAITING_SECONDS", "60"),
        ("AUTHORIZE", "nowhere.at_all"),
        ("AUTHORIZE", "nodots"),
        ("AUTHORIZE", ".rules.mine"),
        ("AUTHORIZE", None),
        ("HEARTBEAT_SECONDS", -1),
        ("HEARTBEAT_SECONDS", float("inf")),
        ("STREAM_SECONDS", "60"),
        ("TICKET_SECONDS", 0),
        ("MAX_STREAMS", 0),
        ("MAX_STREAMS", 1.0),
        ("MAX_STREAMS_PER_CLIENT", 0),
        ("WEBSOCKET_URL", "ws/"),
        ("WEBSOCKET_URL", "/ws"),
        ("WEBSOCKET_URL", ""),
        ("MAX_UPDATES_PER_SECOND", 0),
        ("MAX_UPDATES_PER_SECOND", True),
    ],
)
def test_a_wrong_value_is_shown_with_its_type_and_the_fix(
    settings: Any, name: str, value: Any
) -> None:
    settings.IMPORT_PROGRESS = {name: value}
    [(check_id, message, hint)] = messages()
    assert check_id == "django_import_progress.E003"
    assert message.startswith(f"IMPORT_PROGRESS[{name!r}] has a wrong value: ")
    assert f" ({type(value).__name__})" in message
    assert name == "REDIS_URL" or f": {value!r} (" in message
    assert hint == f"Set it to {KEYS[name].fix}."
    assert "secret" not in message
    with pytest.raises(ImproperlyConfigured, match=name) as caught:
        getattr(ours, name.lower())
    assert "secret" not in str(caught.value)


def test_a_long_value_is_shortened(settings: Any) -> None:
    settings.IMPORT_PROGRESS = {"NAMESPACE": "x" * 10_000}
    assert len(messages()[0][1]) < 200


SHOWN = {
    "redis://localhost:6379/x": "'redis://localhost:6379/x'",
    "redis://user:secret@localhost/x": "'redis://localhost/x'",
    "redis://user:sec?ret@localhost/x": "'redis://…'",
    "redis://:secret/0": "'redis://…'",
    "redis://user:secret": "'redis://…'",
    "redis://a:1?password=secret@x&nonsense=1": "'redis://…'",
    "redis+cluster://[::1]:7000,b:x": "'redis+cluster://…'",
    "redis+cluster://[::1]:7000,b/7": "'redis+cluster://[::1]:7000,b/7'",
    "localhost:6379": "'localhost:6379'",
    "secret": "a text that is not a URL",
    "user:secret@localhost": "a text that is not a URL",
}


@pytest.mark.parametrize("url", SHOWN)
def test_of_a_wrong_url_is_shown_what_can_be_no_secret(settings: Any, url: str) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": url}
    [(_, message, _)] = messages()
    assert f"has a wrong value: {SHOWN[url]} (str): " in message
    assert not re.search("secret|sec|ret", message.replace("secrets", ""))


@pytest.mark.parametrize("kind", [str.encode, lazystr, *(list, tuple, dict.fromkeys, set)])
def test_of_what_is_no_text_only_the_type_is_shown(settings: Any, kind: Any) -> None:
    url = "redis://:secret@localhost/0"
    value = kind(url) if kind in {str.encode, lazystr} else kind([url])
    settings.IMPORT_PROGRESS = {"REDIS_URL": value}
    [(_, message, _)] = messages()
    assert f"has a wrong value: … ({type(value).__name__}): it is not a str" in message
    assert "secret" not in message


def two(user: Any, job: Any) -> bool:
    raise AssertionError


class Rule:
    def __call__(self, user: Any, job: Any, action: str, *more: Any) -> bool:
        return False


@pytest.mark.parametrize(
    ("rule", "is_valid"),
    [
        (two, False),
        ("tests.test_conf.two", False),
        ("tests.test_conf.__name__", False),
        (lambda: True, False),
        (lambda user, job, action, *, more: True, False),
        (lambda *arguments: False, True),
        (Rule(), True),
        (max, True),  # Does not say how many it takes.
    ],
)
def test_a_rule_takes_three_arguments(settings: Any, rule: Any, is_valid: bool) -> None:
    settings.IMPORT_PROGRESS = {"AUTHORIZE": rule}
    assert ("E003" in str(messages())) is not is_valid


def test_a_wrong_url_of_the_environment_is_named_as_that(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "localhost:6379")
    settings.IMPORT_PROGRESS = {}
    assert messages()[0][1].startswith("REDIS_URL in the environment has a wrong value: 'localhost")
    with pytest.raises(ImproperlyConfigured, match="REDIS_URL in the environment"):
        _ = ours.redis_url


def test_a_value_is_validated_once(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.IMPORT_PROGRESS = {"AUTHORIZE": Rule()}
    validated: list[Any] = []

    def is_valid(rule: Any) -> bool:
        validated.append(rule)
        return True

    monkeypatch.setattr(KEYS["AUTHORIZE"], "is_valid", is_valid)
    assert ours.authorize is ours.authorize
    assert validated == [ours.authorize]


def test_a_value_that_is_changed_in_place_is_validated_again(settings: Any) -> None:
    settings.IMPORT_PROGRESS = {"TTL_SECONDS": 1}
    assert ours.ttl_seconds == 1
    settings.IMPORT_PROGRESS["TTL_SECONDS"] = 2
    assert ours.ttl_seconds == 2
    settings.IMPORT_PROGRESS["TTL_SECONDS"] = 0
    with pytest.raises(ImproperlyConfigured):
        _ = ours.ttl_seconds


def test_debug_is_djangos(settings: Any) -> None:
    settings.DEBUG = True
    assert ours.debug is True


@pytest.fixture
def no_redis_url(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the settings nor the environment name a server."""
    settings.IMPORT_PROGRESS = {}
    monkeypatch.delenv("REDIS_URL", raising=False)


@pytest.mark.usefixtures("no_redis_url")
def test_while_debugging_the_server_is_embedded_unless_one_is_named(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DEBUG = True
    assert ours.redis_url == "embedded://"
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere/1")
    assert ours.redis_url == "redis://elsewhere/1"
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://here/1"}
    assert ours.redis_url == "redis://here/1"


@pytest.mark.usefixtures("no_redis_url")
def test_it_is_embedded_only_where_it_is_installed(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DEBUG = True
    monkeypatch.setattr("django_import_progress.redis.embedded.find_spec", lambda name: None)
    missing_server.cache_clear()
    assert ours.redis_url == "redis://localhost:6379/0"
    missing_server.cache_clear()
