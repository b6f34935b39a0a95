"""A new Django project, which follows what the documentation says to the letter."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .documented import Block, blocks
from .processes import free_port
from .started import kill_group
from .waiting import wait_for

RUNSERVER = ("manage.py", "runserver", "--noreload")
DOCUMENTED_REDIS = "redis://localhost:6379/0"


def begun(folder: Path) -> Path:
    """Make a project with an app and a database: once, for that takes Django three starts.

    Args:
        folder: the test run's; of several processes one makes it, and the others wait.
    """
    with (folder / "project.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder / "project"
        if not made.exists():  # pragma: no branch - another process may have made it
            made.mkdir()
            project = Project(made, DOCUMENTED_REDIS)
            project.run("-m", "django", "startproject", "mysite", ".")
            project.run("manage.py", "startapp", "products")
            project.migrate()
    return made


class Project:
    """A Django project in a folder of its own."""

    def __init__(
        self, folder: Path, redis_url: str, begun: Path | None = None, python: str = sys.executable
    ) -> None:
        self.folder = folder
        self.python = python
        if begun:
            shutil.copytree(begun, folder, dirs_exist_ok=True)
        self.environment = {**os.environ, "REDIS_URL": redis_url}
        self.environment.pop("DJANGO_SETTINGS_MODULE", None)
        if not redis_url:  # As for someone who has none.
            del self.environment["REDIS_URL"]

    def run(self, *arguments: str) -> None:
        """Run Python in it."""
        command = [self.python, *arguments]
        subprocess.run(command, cwd=self.folder, env=self.environment, check=True)

    def script(self, code: str) -> None:
        """Run code in it, where warnings are errors."""
        self.run("-W", "error", "manage.py", "shell", "--no-imports", "-c", code)

    def follow(self, page: str, section: str = "", **others: str) -> None:
        """Add the blocks of a page, or of a section of it, to the files they name.

        Args:
            page: its path.
            section: its heading.
            others: what the page says to write in place of what (`django_tasks="django.tasks"`).
        """
        for block in blocks(page, section):
            self.write(block, **others)

    def write(self, block: Block, **others: str) -> None:
        """Add a block to the file that it names, if it names one."""
        if block.file:
            path, code = self.folder / block.file, block.code
            code = code.replace(
                DOCUMENTED_REDIS, self.environment.get("REDIS_URL", DOCUMENTED_REDIS)
            )
            for new, old in others.items():
                code = code.replace(old, new)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w" if block.is_anew else "a") as file:
                file.write("\n" + code)

    def migrate(self) -> None:
        """Bring the database to what the installed apps need."""
        self.run("manage.py", "migrate", "--verbosity", "0")

    @contextmanager
    def served(self, *command: str) -> Iterator[str]:
        """Give the address at which a command serves it; the command is told the port."""
        port = free_port()
        with self.started([*command, str(port)], lambda log: "http://127.0.0.1" in log):
            yield f"http://127.0.0.1:{port}"

    @contextmanager
    def started(self, arguments: list[str], is_ready: Callable[[str], bool]) -> Iterator[Path]:
        """Run Python in it meanwhile, once what it writes says that it is ready; give its log."""
        log = self.folder / f"{free_port()}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [self.python, *arguments],
                cwd=self.folder,
                env={**self.environment, "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=output,
                process_group=0,
            )
        try:
            wait_for(lambda: is_ready(log.read_text()), f"the start of {shlex.join(arguments)}")
            yield log
        finally:
            process.terminate()
            try:
                process.wait(10)
            finally:
                kill_group(process)

    def quick_start(self) -> None:
        """Make it as the README says."""
        self.follow("README.md", "Quick start")
