"""Settings of the tests' site; a test that needs others overrides them."""

import json
import os
import tempfile
from pathlib import Path

from django.utils.module_loading import import_string

SECRET_KEY = "of the tests' site only"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]
ROOT_URLCONF = "tests.site.urls"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_import_progress",
    "airports",
    "django_tasks_db",
]
if "TEST_SITE_REDIS" not in os.environ or "TEST_SITE_DATABASE" in os.environ:  # pragma: no branch
    INSTALLED_APPS.append("django_import_progress.history")  # Other processes have no tables.
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("TEST_SITE_DATABASE", ":memory:"),
        # A file, so that the threads of a live server see what a test writes.
        "TEST": {"NAME": str(Path(tempfile.gettempdir()) / f"tests-{os.getpid()}.sqlite3")},
    }
}
STATIC_URL = "/static/"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [os.environ.get("TEST_SITE_REDIS", "redis://127.0.0.1:1/0")]},
    }
}
IMPORT_PROGRESS = {
    "REDIS_URL": os.environ.get("TEST_SITE_REDIS", "redis://127.0.0.1:1/0"),
    **json.loads(os.environ.get("TEST_SITE_OPTIONS", "{}")),
}
if namespace := os.environ.get("TEST_SITE_NAMESPACE"):  # pragma: no cover - in another process
    IMPORT_PROGRESS["NAMESPACE"] = import_string(namespace)
