"""WebSocket routes for Channels' `URLRouter`, under any prefix.

::

    application = ProtocolTypeRouter({
        "http": get_asgi_application(),
        "websocket": AuthMiddlewareStack(
            URLRouter([path("ws/progress/", URLRouter(websocket_urlpatterns))])
        ),
    })

Source: https://channels.readthedocs.io/en/stable/topics/routing.html
"""

from __future__ import annotations

from typing import Any

from channels.routing import URLRouter  # noqa: F401 - fails at once if Channels is not installed
from django.urls import path, re_path

from .core.keys import clean_namespace
from .web.consumers import job_consumer, jobs_consumer, refusal


def get_websocket_urlpatterns(namespace: str | None = None) -> list[Any]:
    """Return the routes of a namespace; default: the setting's.

    Raises:
        ValueError: `namespace` is invalid.
    """
    if namespace is not None:
        clean_namespace(namespace)
    # Django's `path` is typed for views only; Channels' router takes applications.
    one: Any = job_consumer(namespace)
    several: Any = jobs_consumer(namespace)
    invalid: Any = refusal
    return [
        path("", several),
        path("jobs/<str:job>/", one),
        # Without this the router would raise an error for a path that is no valid id.
        re_path(r"^jobs/", invalid),
    ]


websocket_urlpatterns = get_websocket_urlpatterns()
"""Routes of the namespace in the settings."""
