"""Users for the tests of access."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from tests.faults.conftest import defence

__all__ = ["defence", "other", "owner", "staff"]


@pytest.fixture
def owner(transactional_db: None) -> User:
    """The user who started the import."""
    return User.objects.create_user("owner", password="a")


@pytest.fixture
def other(transactional_db: None) -> User:
    """A user who has nothing to do with the import."""
    return User.objects.create_user("other")


@pytest.fixture
def staff(transactional_db: None) -> User:
    """A staff user, who may watch all imports."""
    return User.objects.create_user("staff", is_staff=True)
