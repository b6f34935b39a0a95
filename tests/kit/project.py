"""A new Django project, which follows what the documentation says to the letter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .processes import free_port
from .servers import ROOT
from .waiting import wait_for

RUNSERVER = ("manage.py", "runserver", "--noreload")

BLOCK = re.compile(r"```(?:python|django)\n(?:# |\{# )(\S+\.\w+)(?: #\})?\n(.*?)```", re.DOTALL)


def blocks(page: str, section: str = "") -> list[tuple[str, str]]:
    """Return each code block that names its file: of a section of a page, or of the whole page."""
    text = (ROOT / page).read_text()
    if section:
        text = text.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return BLOCK.findall(text)


class Project:
    """A Django project in a folder of its own."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.environment = {**os.environ, "REDIS_URL": redis_url}
        self.environment.pop("DJANGO_SETTINGS_MODULE", None)

    def run(self, *arguments: str) -> None:
        """Run Python in it."""
        command = [sys.executable, *arguments]
        subprocess.run(command, cwd=self.folder, env=self.environment, check=True)

    def follow(self, page: str, section: str = "") -> None:
        """Add the blocks of a page, or of a section of it, to the files they name."""
        for name, code in blocks(page, section):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write("\n" + code)

    def migrate(self) -> None:
        """Make the database."""
        self.run("manage.py", "migrate", "--verbosity", "0")

    @contextmanager
    def served(self, *command: str) -> Iterator[str]:
        """Give the address at which a command serves it; the command is told the port."""
        port, log = free_port(), self.folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *command, str(port)],
                cwd=self.folder,
                env={**self.environment, "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=output,
            )
        try:
            wait_for(lambda: b"http://127.0.0.1" in log.read_bytes(), "the server to start")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)

    def quick_start(self) -> None:
        """Make it as the README says."""
        self.run("-m", "django", "startproject", "mysite", ".")
        self.run("manage.py", "startapp", "products")
        self.follow("README.md", "Quick start")
