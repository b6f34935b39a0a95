"""The tests' site as an ASGI application."""

import os
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.urls import path
from django.utils.module_loading import import_string

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.site.settings")

django = ASGIStaticFilesHandler(get_asgi_application())

from django_import_progress import routing  # noqa: E402 - needs the apps, which are loaded by now
from django_import_progress.asgi import ProgressStreams  # noqa: E402
from django_import_progress.web.hand_over import HandOver  # noqa: E402

LANE = "/lane"
"""Under this prefix is the same site, with the fast lane in front of Django."""

HANDED = "/handed"
"""Under this prefix too; here Django's view hands every stream over, those by ticket as well."""


def with_lane(django: Any) -> Any:
    """Serve all three."""
    lane = ProgressStreams(django)

    async def http(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].startswith(f"{LANE}/"):
            await lane({**scope, "root_path": LANE}, receive, send)
        elif scope["path"].startswith(f"{HANDED}/"):
            scope = {**scope, "root_path": HANDED}
            if handed_over := await HandOver().ask(django, scope, receive, send):
                stream, headers = handed_over
                await stream.run(receive, send, headers)
        else:
            await django(scope, receive, send)

    return http


routes = URLRouter(
    [
        path("ws/progress/", URLRouter(routing.websocket_urlpatterns)),
        path("ws/orders/", URLRouter(routing.get_websocket_urlpatterns("order_imports"))),
    ]
)
websocket = AuthMiddlewareStack(routes)
application = ProtocolTypeRouter({"http": with_lane(django), "websocket": websocket})

if switch := os.environ.get("TEST_SITE_SWITCH"):  # pragma: no cover - in a server's own process
    import pytest

    import_string(switch)(pytest.MonkeyPatch())  # For a negative control: a defence is off.
