"""nginx in front of a site, with Debian's default configuration and nothing for event streams."""

from __future__ import annotations

import atexit
import re
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from .documented import blocks
from .processes import free_port
from .started import kill_group
from .waiting import wait_for

CONFIGURATION = """
daemon off;
worker_processes auto;
pid {directory}/pid;
error_log {directory}/error.log;

events {{
    worker_connections 768;
}}

http {{
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    types {{
        text/html html;
    }}
    default_type application/octet-stream;
    access_log {directory}/access.log;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    gzip on;

    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            {more}
        }}
    }}
    {beside}
}}
"""


def nginx_binary() -> str | None:
    """Return the system's nginx, if it has one."""
    return shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


def passed_on(page: str) -> list[str]:
    """Return what each `location` of a page has beside its `proxy_pass` to the site."""
    code = "".join(block.code for block in blocks(page) if block.language == "nginx")
    return re.findall(r"proxy_pass http://[\w.]+:8000;(.*?)\}", code, re.DOTALL)


def refusal(binary: str, block: str, folder: Path) -> str:
    """Return what nginx says against a block of its configuration: of a `server`, or of `http`."""
    if block.startswith("location"):
        block = f"server {{ listen 127.0.0.1:{free_port()}; {block} }}"
    block = re.sub(
        r"http://[a-z]+:", "http://127.0.0.1:", block
    )  # It looks for a host by its name.
    file = folder / "nginx.conf"
    file.write_text(f"pid {folder}/pid; events {{}} http {{ access_log off; {block} }}")
    command = [binary, "-t", "-p", str(folder), "-c", str(file), "-e", str(folder / "error.log")]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return tried.stderr if tried.returncode else ""


class Nginx:
    """One nginx with its workers, in one process group; to be used as a context manager.

    Args:
        binary: see `nginx_binary`.
        upstream: the port of the site.
        more: directives for the `location`, beyond Debian's default.
        beside: what there is besides that server.
    """

    def __init__(self, binary: str, upstream: int, more: str = "", beside: str = "") -> None:
        self._binary = binary
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="nginx-of-a-test-"))
        self._directory.chmod(0o755)  # Started by root, its workers are somebody else.
        self._file = self._directory / "nginx.conf"
        self._file.write_text(
            CONFIGURATION.format(
                directory=self._directory,
                port=self.port,
                upstream=upstream,
                more=more,
                beside=beside,
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Nginx:
        log = self._directory / "error.log"
        command = [self._binary, "-p", str(self._directory), "-c", str(self._file), "-e", str(log)]
        with (self._directory / "output").open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
            )
        atexit.register(self.close)  # A test that fails half-way leaves nothing behind.
        wait_for(self._accepts, "nginx to listen", seconds=20)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accepts(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

    def close(self) -> None:
        """End it and its workers, and remove its files; more than once, if need be."""
        atexit.unregister(self.close)
        assert self._process is not None
        kill_group(self._process)
        shutil.rmtree(self._directory, ignore_errors=True)
