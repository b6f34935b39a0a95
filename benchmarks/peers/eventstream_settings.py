"""Settings of a site with django-eventstream, over Redis; the rest is as on our own site."""

import os
from urllib.parse import urlsplit

from benchmarks.settings import *  # noqa: F403
from benchmarks.settings import INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = [*INSTALLED_APPS, "django_eventstream"]
MIDDLEWARE = [*MIDDLEWARE, "django_grip.GripMiddleware"]
ROOT_URLCONF = "benchmarks.peers.eventstream_urls"
EVENTSTREAM_REDIS = {"host": "127.0.0.1", "port": urlsplit(os.environ["TEST_SITE_REDIS"]).port}
