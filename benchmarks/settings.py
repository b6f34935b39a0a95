"""Settings of the benchmarks: the tests' site, with a database in a file where one is named."""

import os

from tests.site.settings import *  # noqa: F403

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("BENCH_DATABASE", ":memory:"),
    }
}


def anyone(*_: object) -> bool:
    """Let everybody watch by the bare id of a job."""
    return True


MEDIA_ROOT = os.environ.get("BENCH_MEDIA", "")
