"""The origins from which a WebSocket may be opened."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from websockets.exceptions import InvalidStatus

from django_import_progress import SyncProgressManager
from django_import_progress.access.origins import is_foreign
from django_import_progress.web import consumers
from tests.kit.asgi import AsgiServer
from tests.kit.controls import without
from tests.kit.sockets import hear, open_socket
from tests.kit.visitors import login

JOB = "the-job"
SERVER = ("192.0.2.1", 80)


def headers(host: str, *origins: str, **more: str) -> list[tuple[bytes, bytes]]:
    sent = {"host": host} | more
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()]
    return named + [(b"Origin", origin.encode("latin-1")) for origin in origins]


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("example.com", "http://example.com"),
        ("example.com", "https://example.com"),
        ("example.com:443", "https://example.com"),
        ("example.com", "https://EXAMPLE.com"),
        ("example.com:8000", "http://example.com:8000"),
        ("example.com", "https://trusted.example"),
        ("example.com", "https://a.wild.example"),
        ("example.com", "https://a.wild.example:8443"),
    ],
)
def test_a_page_of_the_site_or_of_a_trusted_one_is_welcome(
    settings: Any, host: str, origin: str
) -> None:
    settings.ALLOWED_HOSTS = ["example.com"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://trusted.example", "https://*.wild.example"]
    settings.CSRF_TRUSTED_ORIGINS += ["https://*.wild.example:8443"]
    assert not is_foreign(headers(host, origin), SERVER)


FOREIGN = ["http://evil.example", "http://example.com.evil.example", "http://evil-example.com"]
FOREIGN += ["http://example.com:8000", "http://trusted.example", "https://wildly.example", "null"]
FOREIGN += ["", "example.com", "//example.com", "file://", "http://[", "ws://example.com", "é"]
FOREIGN += [
    "http://example.com?",
    "http://example.com#",
    " http://example.com",
    "http:/example.com",
]
FOREIGN += ["https://evil.example\\.wild.example", "https://evil.example:443@a.wild.example"]
FOREIGN += ["http://example.com@evil.example", "http://user@example.com", "http://example.com/"]


@pytest.mark.parametrize("hosts", [["example.com"], ["*"]])
@pytest.mark.parametrize("origin", FOREIGN)
def test_any_other_page_is_foreign(settings: Any, hosts: list[str], origin: str) -> None:
    settings.ALLOWED_HOSTS = hosts
    settings.CSRF_TRUSTED_ORIGINS = ["https://trusted.example", "https://*.wild.example"]
    assert is_foreign(headers("example.com", origin), SERVER)


def test_a_host_that_is_not_the_sites_vouches_for_nobody(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["example.com"]
    assert is_foreign(headers("evil.example", "http://evil.example"), SERVER)


def test_of_two_origins_none_counts(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["example.com"]
    assert is_foreign(headers("example.com", *["http://example.com"] * 2), SERVER)


def test_who_is_no_browser_has_no_origin() -> None:
    assert not is_foreign(headers("evil.example"), None)


def test_the_host_is_the_one_that_django_takes_for_it(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["example.com", "inner"]
    sent = headers("inner", "https://example.com", x_forwarded_host="example.com")
    assert is_foreign(sent, SERVER)
    settings.USE_X_FORWARDED_HOST = True
    assert not is_foreign(sent, None)


def lets_all_origins_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "is_foreign", lambda *_: False)


@pytest.mark.parametrize("path", ["", f"jobs/{JOB}/"])
@without(lets_all_origins_in, fails_with=(pytest.fail.Exception,))
def test_a_foreign_page_with_the_owners_cookies_is_refused(
    live: AsgiServer, jobs: SyncProgressManager, owner: User, path: str
) -> None:
    jobs.create(JOB, owner=owner)
    url = f"{live.url}/ws/progress/{path}"
    with login(owner) as client, pytest.raises(InvalidStatus) as refusal:
        open_socket(url, client, Origin="http://evil.example").__enter__()
    assert refusal.value.response.status_code == 403


def test_the_sites_own_page_is_let_in(
    live: AsgiServer, jobs: SyncProgressManager, owner: User
) -> None:
    jobs.create(JOB, owner=owner)
    url = f"{live.url}/ws/progress/jobs/{JOB}/"
    with login(owner) as client, open_socket(url, client, Origin=live.url) as connection:
        assert hear(connection)["job_id"] == JOB
