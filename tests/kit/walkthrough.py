"""A page followed from top to bottom: its files are written and its commands run where it has them."""

from __future__ import annotations

import shlex
from contextlib import ExitStack

from .commandlines import commands, module
from .documented import blocks
from .project import Project

INSTALLING = {"mkdir", "cd", "python3", ".", "pip"}
"""Commands that make a folder and an environment. The tests have both."""


def walk_through(project: Project, page: str, section: str, servers: ExitStack) -> None:
    """Do what a section of a page says, block by block.

    Args:
        project: where.
        page: its path.
        section: its heading.
        servers: ends the servers and workers that the section starts.
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
