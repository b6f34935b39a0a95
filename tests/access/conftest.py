"""What the tests of access share."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from tests.faults.conftest import defence

__all__ = ["defence", "other", "owner", "staff"]


@pytest.fixture
def owner(transactional_db: None) -> User:
    """Who has started the import."""
    return User.objects.create_user("owner", password="a")


@pytest.fixture
def other(transactional_db: None) -> User:
    """Who has nothing to do with it."""
    return User.objects.create_user("other")


@pytest.fixture
def staff(transactional_db: None) -> User:
    """Who may look after others' imports."""
    return User.objects.create_user("staff", is_staff=True)
