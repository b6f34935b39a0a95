"""The example's pages: an upload, its import, and the result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from airports.importer import run_import
from airports.models import Import
from celery import Celery
from django.contrib.auth.models import AnonymousUser, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from django_import_progress import SyncProgressManager

from ..kit.airports import ZURICH, as_csv, imported, numbered, stored
from ..kit.processes import RedisProcess

# Transactions are real: the end of a job is told after the commit only.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings: Any) -> Path:
    """Where uploads go."""
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


@pytest.fixture
def broker(site: RedisProcess) -> Iterator[redis.Redis]:
    """The site with a queue; a client that can read it."""
    with Celery("test", broker=site.url, set_as_current=True), redis.Redis(port=site.port) as raw:
        yield raw


@pytest.fixture
def no_broker(site: RedisProcess) -> Iterator[None]:
    """The site with progress, but without a worker."""
    with Celery("test", broker="redis://127.0.0.1:1/0", set_as_current=True):
        yield


def test_an_upload_is_stored_and_queued(
    broker: redis.Redis, client: Client, jobs: SyncProgressManager
) -> None:
    upload = SimpleUploadedFile("mine.csv", as_csv(ZURICH))
    response = client.post(reverse("airports:home"), {"source": "own", "file": upload})
    import_ = Import.objects.get()
    assert response["Location"] == import_.get_absolute_url()
    assert import_.filename == str(import_) == "mine.csv"
    with import_.file.open("rb") as file:
        assert file.read() == as_csv(ZURICH)
    assert jobs.get_progress(import_.pk)["status"] == "queued"  # type: ignore[index]
    message = json.loads(broker.lindex("celery", 0))  # type: ignore[arg-type]
    assert message["headers"]["task"] == "airports.tasks.import_airports"
    assert str(import_.pk) in message["headers"]["argsrepr"]


def test_an_import_belongs_to_the_user_that_started_it(
    broker: redis.Redis, client: Client, jobs: SyncProgressManager
) -> None:
    user = User.objects.create_user("amelia")
    client.force_login(user)
    client.post(reverse("airports:home"), {"source": "sample"})
    assert Import.objects.get().owner == user
    assert len(jobs.jobs(owner=user)) == 1


def test_a_bad_upload_leaves_nothing_behind(client: Client, media: Path) -> None:
    upload = SimpleUploadedFile("mine.csv", b"a,b\n")
    response = client.post(reverse("airports:home"), {"source": "own", "file": upload})
    assert "The first line must name" in response.content.decode()
    assert response.context["form"]["source"].value() == "own"
    assert not Import.objects.exists()
    assert not list(media.rglob("*.csv"))


@pytest.mark.parametrize("outage", ["no_broker", "settings"])
def test_an_outage_is_reported_and_leaves_nothing_behind(
    request: pytest.FixtureRequest, outage: str, client: Client, media: Path
) -> None:
    request.getfixturevalue(outage)  # With the plain settings Redis is out of reach altogether.
    response = client.post(reverse("airports:home"), {"source": "sample"})
    assert response.status_code == 503
    assert "Redis is unavailable" in response.content.decode()
    assert not Import.objects.exists()
    assert not list(media.rglob("*.csv"))


def test_the_import_page_shows_a_bar_and_then_the_result(
    site: RedisProcess, client: Client, jobs: SyncProgressManager
) -> None:
    import_ = stored(as_csv(ZURICH, {**ZURICH, "icao": "<b>"}))
    jobs.create(import_.pk)
    page = client.get(import_.get_absolute_url()).content.decode()
    assert f'<import-progress data-job="{import_.pk}" data-status="queued"' in page
    assert "See the airports" not in page
    run_import(import_)
    page = client.get(import_.get_absolute_url()).content.decode()
    assert 'data-status="done"' in page
    assert "See the airports" in page
    assert 'data-rejected="1"' in page
    assert "Download the rejected rows above" in page
    assert " style=" not in page
    assert "<script>" not in page


def test_progress_that_is_forgotten_leaves_the_result(
    site: RedisProcess, client: Client, jobs: SyncProgressManager
) -> None:
    import_ = imported(as_csv(*numbered(101, country="?")))
    jobs.delete(import_.pk)
    page = client.get(import_.get_absolute_url()).content.decode()
    assert "<import-progress" not in page
    assert "101 rows rejected" in " ".join(page.split())


def test_an_interrupted_import_is_shown_as_such(site: RedisProcess, client: Client) -> None:
    page = client.get(stored(as_csv(ZURICH)).get_absolute_url()).content.decode()
    assert "This import was interrupted." in page


def test_the_import_page_does_without_redis(client: Client) -> None:
    page = client.get(stored(as_csv(ZURICH)).get_absolute_url()).content.decode()
    assert "<import-progress" in page


def test_an_owned_import_is_the_owners_only(site: RedisProcess, client: Client) -> None:
    amelia, bessie = User.objects.create_user("amelia"), User.objects.create_user("bessie")
    everybodys, amelias = stored(b""), stored(b"", owner=amelia)
    assert set(Import.objects.visible_to(amelia)) == {everybodys, amelias}
    assert set(Import.objects.visible_to(bessie)) == {everybodys}
    assert set(Import.objects.visible_to(AnonymousUser())) == {everybodys}
    assert client.get(amelias.get_absolute_url()).status_code == 404
    client.force_login(bessie)
    assert client.get(amelias.get_absolute_url()).status_code == 404
    assert str(amelias.pk) not in client.get(reverse("airports:home")).content.decode()
    client.force_login(amelia)
    assert client.get(amelias.get_absolute_url()).status_code == 200
    assert str(amelias.pk) in client.get(reverse("airports:home")).content.decode()


@pytest.mark.parametrize("wanted", ["lszh", "ZRH", "rich air", "Zürich"])
def test_airports_are_found(site: RedisProcess, client: Client, wanted: str) -> None:
    imported(as_csv(ZURICH, *numbered(2, name="Elsewhere", city="")))
    response = client.get(reverse("airports:list"), {"q": wanted})
    assert [airport.icao for airport in response.context["airports"]] == ["LSZH"]


def test_the_list_has_pages(site: RedisProcess, client: Client) -> None:
    imported(as_csv(*numbered(60, city="Bern")))
    page = client.get(reverse("airports:list"), {"q": "bern"}).content.decode()
    assert "1 to 50" in page
    assert "?q=bern&amp;page=2" in page
    page = client.get(reverse("airports:list"), {"q": "bern", "page": 2}).content.decode()
    assert "Page 2 of 2" in page
    assert client.get(reverse("airports:list"), {"page": 3}).status_code == 404


@pytest.mark.parametrize(
    ("query", "answer"),
    [("", "There are no airports yet"), ("?q=x", "No airports found"), ("?q=%00", "Null char")],
)
def test_an_empty_list_says_what_to_do(client: Client, query: str, answer: str) -> None:
    assert answer in client.get(reverse("airports:list") + query).content.decode()
