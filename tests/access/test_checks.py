"""System checks for insecure settings."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib.staticfiles.storage import StaticFilesStorage
from django.core import checks
from django.core.checks import CheckMessage

from django_import_progress.access import Job, owner_or_staff
from django_import_progress.checks import check_static_files, check_url_namespaces
from django_import_progress.core.keys import NAMESPACE_RULE


def found() -> dict[str, CheckMessage]:
    """Return the app's messages by the last part of their id."""
    ours = apps.get_app_config("django_import_progress")
    messages = checks.run_checks(app_configs=[ours])
    return {
        str(message.id).rpartition(".")[2]: message
        for message in messages
        if str(message.id).startswith("django_import_progress.")
    }


@pytest.mark.django_db  # Of Django 6.1 some checks ask the database.
def test_a_namespace_in_the_urls_that_would_share_keys_is_an_error(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.site.colon_urls"
    messages = [m for m in checks.run_checks() if m.id == "django_import_progress.E004"]
    assert [str(message.msg).split("=")[1].split(",")[0] for message in messages] == [
        "'orders:eu'",
        "'orders~us'",
    ]
    assert {message.hint for message in messages} == {
        f"Use {NAMESPACE_RULE}, also for namespace= of include()."
    }


def test_a_site_without_urls_has_none_that_are_wrong(settings: Any) -> None:
    settings.ROOT_URLCONF = None
    assert check_url_namespaces() == []


def everybody(user: Any, job: Job, action: str) -> bool:
    return True


async def everybody_later(user: Any, job: Job, action: str) -> bool:
    return True


def watchers(user: Any, job: Job, action: str) -> bool:
    return action == "watch"


def colleagues(user: Any, job: Job, action: str) -> bool:
    return bool(user.department == job.owner)


def nobody(user: Any, job: Job, action: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("rule", "may"),
    [
        (everybody, "to watch and cancel every"),
        (everybody_later, "to watch and cancel every"),
        (watchers, "to watch every"),
        (colleagues, None),
        (nobody, None),
        (owner_or_staff, None),
    ],
)
def test_a_rule_that_lets_everybody_in(settings: Any, rule: Any, may: str | None) -> None:
    settings.IMPORT_PROGRESS = {"AUTHORIZE": rule}
    message = found().get("W001")
    assert (message is None) is (may is None)
    assert message is None or str(may) in message.msg


@pytest.mark.parametrize(
    ("hosts", "websocket_url", "is_said"),
    [(["*"], "/ws/", True), (["a.example"], "/ws/", False), (["*"], None, False)],
)
def test_hosts_that_are_not_named_under_websockets(
    settings: Any, hosts: list[str], websocket_url: str | None, is_said: bool
) -> None:
    settings.ALLOWED_HOSTS = hosts
    settings.IMPORT_PROGRESS = {"WEBSOCKET_URL": websocket_url}
    assert ("W002" in found()) is is_said


@pytest.mark.parametrize(
    ("url", "is_said"),
    [
        ("redis://cache.example:6379/0", True),
        ("redis://192.0.2.7", True),
        ("redis://user:secret@cache.example", True),
        ("redis+sentinel://localhost,cache.example/main/0", True),
        ("redis+cluster://[2001:db8::1]:6379", True),
        ("rediss://cache.example", False),
        ("rediss+cluster://cache.example", False),
        ("redis://localhost", False),
        ("redis://127.0.0.2:7000", False),
        ("redis://[::1]", False),
        ("redis+cluster://127.0.0.1:7000,localhost:7001", False),
        ("unix:///run/redis.sock", False),
    ],
)
def test_redis_across_hosts_without_tls(settings: Any, url: str, is_said: bool) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": url}
    assert ("I001" in found()) is is_said
    settings.DEBUG = True
    assert "I001" not in found()


def test_a_signer_of_ones_own_signs_no_tickets(settings: Any) -> None:
    assert "I002" not in found()
    settings.SIGNING_BACKEND = "my.signing.Signer"
    assert "I002" in found()


class Bucket(StaticFilesStorage):
    """A storage elsewhere."""

    def url(self, name: str | None) -> str:
        return f"https://user:secret@bucket.example/{name}?signature=secret"


class Uncollected(StaticFilesStorage):
    """A storage that knows of no file yet."""

    def url(self, name: str | None) -> str:
        raise ValueError(name)


@pytest.mark.parametrize(
    ("storage", "url", "host"),
    [
        (StaticFilesStorage, "/static/", None),
        (StaticFilesStorage, "static/", None),
        (StaticFilesStorage, "https://cdn.example/static/", "cdn.example"),
        (StaticFilesStorage, "//cdn.example:8443/", "cdn.example"),
        (Bucket, "/static/", "bucket.example"),
        (Uncollected, "/static/", None),
        (Uncollected, "https://cdn.example/", "cdn.example"),
        (Uncollected, None, None),
    ],
)
def test_static_files_on_another_host(
    settings: Any, storage: type[StaticFilesStorage], url: str | None, host: str | None
) -> None:
    settings.STATIC_URL = url
    backend = f"{__name__}.{storage.__name__}"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": backend}}
    message = {str(m.id).rpartition(".")[2]: m for m in check_static_files()}.get("W004")
    assert (message is None) is (host is None)
    assert message is None or f"({host})" in message.msg
    assert "secret" not in str(message)


def test_nothing_else_is_said_of_settings_that_are_wrong(settings: Any) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://cache.example", "AUTHORIZE": None}
    assert list(found()) == ["E003"]


@pytest.mark.parametrize("url", ["embedded://", "embedded:///srv/jobs", "redis://localhost"])
@pytest.mark.parametrize("debug", [True, False])
def test_an_embedded_server_is_for_development(settings: Any, url: str, debug: bool) -> None:
    settings.DEBUG = debug
    settings.IMPORT_PROGRESS = {"REDIS_URL": url}
    assert ("W005" in found()) is (url.startswith("embedded") and not debug)
