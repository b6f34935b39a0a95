"""Follow a page from top to bottom: write its files and run its commands in the page's order."""

from __future__ import annotations

import shlex
from contextlib import ExitStack

from .commandlines import commands, module
from .documented import blocks
from .project import Project

INSTALLING = {"mkdir", "cd", "python3", ".", "pip"}
"""Commands that make a folder and an environment: the tests have both already."""


def walk_through(project: Project, page: str, section: str, servers: ExitStack) -> None:
    """Write the files and run the commands of a section, block by block.

    Args:
        project: the project to do it in.
        page: the page's path.
        section: the section's heading.
        servers: stops the servers and workers that the section starts.
    """
    for block in blocks(page, section):
        project.write(block)
        if block.language == "sh":
            for words in commands(block.code):
                if words[0] not in INSTALLING:
                    _run(project, words, servers)


def _run(project: Project, words: list[str], servers: ExitStack) -> None:
    arguments = module(shlex.join(words))
    if "runserver" in words:
        servers.enter_context(project.served(*arguments, "--noreload"))
    elif "worker" in words:
        solo = [*arguments, "--pool", "solo"]
        servers.enter_context(project.started(solo, lambda log: " ready." in log))
    else:
        project.run(*arguments, *(["--noinput"] if "createsuperuser" in words else []))
