"""What to mount, under any prefix, in Channels' `URLRouter`.

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

from channels.routing import URLRouter  # noqa: F401 - so that a missing Channels is said at once
from django.urls import path, re_path

from .core.keys import clean_namespace
from .web.consumers import Application, job_consumer, jobs_consumer, refusal


def get_websocket_urlpatterns(namespace: str | None = None) -> list[Any]:
    """Return the routes of a namespace; of the setting's where none is given.

    Raises:
        ValueError: `namespace` cannot be one.
    """
    if namespace is not None:
        clean_namespace(namespace)
    # Django's `path` knows of views only; to Channels' router an application is one.
    one, several, none = map(_as_view, (job_consumer(namespace), jobs_consumer(namespace), refusal))
    return [
        path("", several),
        path("jobs/<str:job>/", one),
        # Else the router would raise an error for what cannot be an id.
        re_path(r"^jobs/", none),
    ]


def _as_view(application: Application) -> Any:
    return application


websocket_urlpatterns = get_websocket_urlpatterns()
"""The routes of the setting's namespace."""
