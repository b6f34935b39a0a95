"""Command lines of the documentation, parsed by the very programs that they are for."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterator
from importlib.metadata import metadata
from importlib.util import find_spec
from typing import Any

import click
import daphne.cli
import granian.cli
import gunicorn.config
import uvicorn
from celery.bin.celery import celery
from django.core.management import get_commands, load_command_class
from packaging.requirements import Requirement

from .documented import blocks, pages
from .servers import documented
from .started import ROOT


class NoSuchCommandError(AssertionError):
    """A line that its program would refuse, or that nobody here knows."""


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command of a shell's block, or of a console's."""
    is_console = text.lstrip().startswith("$ ")
    for line in text.replace("\\\n", " ").splitlines():
        if not is_console or line.startswith("$ "):
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words:
                yield words


def module(line: str) -> list[str]:
    """Return Python's arguments that run a documented command line."""
    program, *arguments = shlex.split(line)
    if program == "python":
        return arguments
    return ["-m", "django" if program == "django-admin" else program, *arguments]


def only_line(page: str, program: str) -> str:
    """Return the only command of a page that starts with `program`."""
    shells = (block for block in blocks(page) if block.language == "sh")
    lines = (shlex.join(words) for block in shells for words in commands(block.code))
    [line] = (line for line in lines if line.startswith(program))
    return line


def parsed(words: list[str]) -> None:
    """See that a command would be understood.

    Raises:
        NoSuchCommandError: it would not.
    """
    program, *arguments = words
    if program not in PROGRAMS:
        raise NoSuchCommandError(f"nobody here knows {program}: {shlex.join(words)}")
    try:
        PROGRAMS[program](arguments)
    except (SystemExit, click.ClickException, AssertionError, ValueError) as error:
        raise NoSuchCommandError(f"{shlex.join(words)}: {error!r}") from error


def _pip(arguments: list[str]) -> None:
    verb, *names = arguments
    assert verb == "install"
    for name in names:
        if name.startswith("-") or name == "requirements.txt":
            assert name in {"--upgrade", "--no-cache-dir", "-r", "requirements.txt"}
            continue
        requirement = Requirement(name)
        extras = metadata(requirement.name).get_all("Provides-Extra") or []
        assert requirement.extras <= set(extras), f"{name}: it has {extras}"


def _python(arguments: list[str]) -> None:
    what, *rest = arguments
    if what == "manage.py":
        _manage(rest)
    elif what == "-m":
        assert find_spec(rest[0]), f"there is no {rest[0]}"
    else:
        files = {block.file for page in pages() for block in blocks(page)}
        assert what in files or (ROOT / what).exists(), f"there is no {what}"


def _manage(arguments: list[str]) -> None:
    name, *rest = arguments
    command = load_command_class(get_commands()[name], name)
    command.create_parser("manage.py", name).parse_args(rest)


def _make(arguments: list[str]) -> None:
    targets = [word for word in arguments if "=" not in word]
    makefile = (ROOT / "Makefile").read_text()
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target}"


def _click(command: Any) -> Callable[[list[str]], None]:
    def parse(arguments: list[str]) -> None:
        command.make_context(command.name, list(arguments))

    return parse


def _celery(arguments: list[str]) -> None:
    """Celery's own options depend on an app that must be there: see that it knows their names."""
    option, _app, name, *rest = arguments
    assert option == "-A"
    assert name in celery.commands, f"Celery has no {name}"
    known = {option for parameter in celery.commands[name].params for option in parameter.opts}
    assert {word.partition("=")[0] for word in rest if word.startswith("-")} <= known


def _daphne(arguments: list[str]) -> None:
    daphne.cli.CommandLineInterface().parser.parse_args(arguments)


def _gunicorn(arguments: list[str]) -> None:
    gunicorn.config.Config().parser().parse_args(arguments)


def _hypercorn(arguments: list[str]) -> None:
    """Its parser is inside of its main function: so it is what a test starts, and nothing else."""
    assert shlex.join(["hypercorn", *arguments]) in documented("hypercorn")


def _timeout(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kill-after")
    parser.add_argument("seconds", type=float)
    parsed(parser.parse_known_args(arguments[:2])[1] + arguments[2:])


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    ".": lambda _: None,
    "cd": lambda _: None,
    "celery": _celery,
    "curl": lambda _: None,  # A test runs it.
    "daphne": _daphne,
    "django-admin": _manage,
    "granian": _click(granian.cli.cli),
    "gunicorn": _gunicorn,
    "hypercorn": _hypercorn,
    "make": _make,
    "mkdir": lambda _: None,
    "pip": _pip,
    "pytest": lambda _: None,  # A test runs it.
    "python": _python,
    "python3": _python,
    "timeout": _timeout,
    "useradd": lambda _: None,
    "uvicorn": _click(uvicorn.main),
}
"""Who parses the arguments of which program."""
