"""The tests' site as an ASGI application."""

import os

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.utils.module_loading import import_string

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.site.settings")

application = ASGIStaticFilesHandler(get_asgi_application())

if switch := os.environ.get("TEST_SITE_SWITCH"):  # pragma: no cover - in a server's own process
    import pytest

    import_string(switch)(pytest.MonkeyPatch())  # For a negative control: a defence is off.
