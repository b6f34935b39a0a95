"""The site as an ASGI application: live progress needs an event loop that holds the streams."""

import os

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example.settings")

application = get_asgi_application()

if settings.DEBUG:
    # `runserver` would serve the static files by itself, uvicorn doesn't. In production they are
    # collected by `collectstatic` and served by the web server in front, or by WhiteNoise.
    application = ASGIStaticFilesHandler(application)
