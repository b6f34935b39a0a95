"""The site as an ASGI application: live streams need an event loop."""

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

# Imported here: these need the loaded apps.
from airports.consumers import ImportsNow  # noqa: E402

from django_import_progress.asgi import ProgressStreams  # noqa: E402
from django_import_progress.routing import websocket_urlpatterns  # noqa: E402

if settings.DEBUG:
    # `runserver` serves static files itself, uvicorn does not. In production, `collectstatic`
    # collects them, and WhiteNoise or the web server in front serves them.
    http = ASGIStaticFilesHandler(http)

websocket = AuthMiddlewareStack(
    URLRouter(
        [
            path("ws/progress/", URLRouter(websocket_urlpatterns)),
            # The package's routes check the Origin themselves. Your own consumer needs a guard, or
            # any other site could connect with the cookies of its visitors.
            path("ws/imports/", AllowedHostsOriginValidator(ImportsNow.as_asgi())),
        ]
    )
)

# Serves streams by ticket, as those of all bars, without Django's request handling.
application = ProtocolTypeRouter({"http": ProgressStreams(http), "websocket": websocket})
