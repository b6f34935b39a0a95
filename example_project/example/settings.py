"""Settings of the example project; some can be overridden by environment variables."""

import os
from pathlib import Path

import django

BASE_DIR = Path(__file__).resolve().parent.parent

# Files that the site writes: the database, the uploads, and the demo's logs.
VAR_DIR = Path(os.environ.get("EXAMPLE_VAR") or BASE_DIR / "var")
VAR_DIR.mkdir(parents=True, exist_ok=True)

DEBUG = os.environ.get("DEBUG", "1") == "1"
SECRET_KEY = os.environ.get("SECRET_KEY") or "only good enough for the demo on your own machine"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_import_progress",
    "django_import_progress.history",
    "airports",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

if django.VERSION >= (6, 0):
    # The widget needs no inline script or style, so the strictest policy works.
    MIDDLEWARE.append("django.middleware.csp.ContentSecurityPolicyMiddleware")
    SECURE_CSP = {"default-src": ["'self'"], "base-uri": ["'none'"], "object-src": ["'none'"]}

ROOT_URLCONF = "example.urls"
ASGI_APPLICATION = "example.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": VAR_DIR / "db.sqlite3",
        "OPTIONS": {
            # The worker writes while the web server reads. With a write-ahead log neither waits
            # for the other. Two writers wait for each other, for up to `timeout` seconds.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
            "timeout": 20,
            # Otherwise a transaction that reads before it writes fails immediately, whatever the
            # time-out, if another one has written in between.
            "transaction_mode": "IMMEDIATE",
        },
    }
}

MEDIA_ROOT = VAR_DIR / "media"
STATIC_ROOT = VAR_DIR / "static"
STATIC_URL = "static/"

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    # The reports of rejected rows, for those who may watch the import: never under MEDIA_ROOT.
    "import_progress": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": VAR_DIR / "reports"},
    },
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_THOUSAND_SEPARATOR = True

# One Redis (or Valkey) for Celery's queue, the progress of the imports, and the channel layer that
# delivers updates to the staff's page.
REDIS_URL = os.environ.get("REDIS_URL") or "redis://localhost:6379/0"

IMPORT_PROGRESS = {"REDIS_URL": REDIS_URL, "WEBSOCKET_URL": "/ws/progress/"}

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL]},
    }
}

# Celery uses another scheme for Redis on a Unix socket.
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)
# A separate queue: the worker must not take another project's tasks from a shared Redis.
CELERY_TASK_DEFAULT_QUEUE = "airport-imports"
CELERY_TASK_IGNORE_RESULT = True
# Without time-outs, the form would wait for minutes if Redis does not respond.
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 5, "socket_timeout": 5}
