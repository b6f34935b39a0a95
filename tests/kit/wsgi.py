"""The tests' site as a WSGI application, under a server that has a thread for each request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Threaded(ThreadingMixIn, WSGIServer):
    """As `runserver` is."""

    daemon_threads = True


@contextmanager
def wsgi_server() -> Iterator[int]:
    """Serve the site meanwhile; give the port."""
    application = StaticFilesHandler(get_wsgi_application())
    with make_server(
        "127.0.0.1", 0, application, server_class=Threaded, handler_class=Quiet
    ) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
