"""The site as an ASGI application: live progress needs an event loop that holds the streams."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example.settings")

http = get_asgi_application()

# These need the apps, which are loaded by now.
from airports.consumers import ImportsNow  # noqa: E402

from django_import_progress.asgi import ProgressStreams  # noqa: E402
from django_import_progress.routing import websocket_urlpatterns  # noqa: E402

if settings.DEBUG:
    # `runserver` would serve the static files by itself, uvicorn doesn't. In production they are
    # collected by `collectstatic` and served by the web server in front, or by WhiteNoise.
    http = ASGIStaticFilesHandler(http)

websocket = AuthMiddlewareStack(
    URLRouter(
        [
            path("ws/progress/", URLRouter(websocket_urlpatterns)),
            # The package's routes look at the Origin by themselves; a consumer of one's own must
            # be guarded, or any site could read along with the cookies of who visits it.
            path("ws/imports/", AllowedHostsOriginValidator(ImportsNow.as_asgi())),
        ]
    )
)

# Streams by ticket, which are those of all bars, need nothing of Django's.
application = ProtocolTypeRouter({"http": ProgressStreams(http), "websocket": websocket})
