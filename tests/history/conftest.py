"""Databases of each kind for the history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ..conftest import missing
from ..kit.databases import DatabaseServer, HistoryRouter, served


def _served(kind: str) -> Iterator[DatabaseServer]:
    if not DatabaseServer.is_there(kind):  # pragma: no cover - where the machine has everything
        missing(kind)
    with served(kind) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql(django_db_setup: None, django_db_blocker: Any) -> Iterator[DatabaseServer]:
    """PostgreSQL, running."""
    with django_db_blocker.unblock():
        yield from _served("postgresql")


@pytest.fixture(scope="session")
def mariadb(django_db_setup: None, django_db_blocker: Any) -> Iterator[DatabaseServer]:
    """MariaDB, running."""
    with django_db_blocker.unblock():
        yield from _served("mariadb")


@pytest.fixture(scope="session", params=["sqlite", "postgresql", "mariadb"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of database. Its server is up before pytest-django counts the databases."""
    if request.param != "sqlite":
        request.getfixturevalue(request.param)
    return str(request.param)


@pytest.fixture
def each_database(database_kind: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Route the history to a database of each kind; its alias.

    The test has the mark ``django_db(transaction=True, databases="__all__")``.
    """
    if database_kind == "sqlite":
        return "default"
    monkeypatch.setattr(HistoryRouter, "alias", database_kind)
    settings.DATABASE_ROUTERS = ["tests.kit.databases.HistoryRouter"]
    return database_kind
