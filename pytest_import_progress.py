"""The pytest plugin of django-import-progress: the fixture `import_progress`.

It is not part of the package, which pytest would otherwise import in every run, used or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from django_import_progress.testing import RecordedImports


@pytest.fixture
def import_progress() -> Iterator[RecordedImports]:
    """Run the imports of a test in memory: see `django_import_progress.testing`.

    Yields:
        The recorded jobs, by id.
    """
    from django_import_progress.testing import record_imports  # noqa: PLC0415 - not at the start.

    with record_imports() as recorded:
        yield recorded
