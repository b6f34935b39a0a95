"""A real ASGI server, in a thread of the test's process so that coverage sees what it runs."""

from __future__ import annotations

import threading
from typing import Any

import uvicorn

from django_import_progress.web.limits import open_streams

from .processes import free_port
from .waiting import wait_for


class AsgiServer:
    """uvicorn on a free port."""

    def __init__(self, application: Any) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            application,
            port=self.port,
            lifespan="off",
            log_level="warning",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> AsgiServer:
        self._thread.start()
        wait_for(lambda: self._server.started, "the ASGI server to start")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        # What the server cancelled at its own end would be counted until it is garbage.
        every = tuple(open_streams._all)
        loops = ((stream, getattr(stream, "_loop", None)) for stream in every)
        for stream in [stream for stream, loop in loops if loop is not None and loop.is_closed()]:
            stream.close()
