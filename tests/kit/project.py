"""A new Django project, which follows what the documentation says to the letter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from .servers import ROOT

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

    def quick_start(self) -> None:
        """Make it as the README says."""
        self.run("-m", "django", "startproject", "mysite", ".")
        self.run("manage.py", "startapp", "products")
        self.follow("README.md", "Quick start")
