"""`manage.py import_progress`: which of its parts is meant, and what went wrong, in words."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from types import ModuleType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...conf import settings
from ...core.errors import InvalidJobId, InvalidProgress, ProgressUnavailable
from ...core.keys import NAMESPACE_RULE, is_namespace
from ...redis.factory import without_secrets
from ..subcommands import cancel, relay, show, watch
from ..subcommands import list as list_jobs

SUBCOMMANDS: dict[str, ModuleType] = {
    "list": list_jobs,
    "show": show,
    "watch": watch,
    "cancel": cancel,
    "relay": relay,
}

PIPE_CLOSED = 141
"""What a shell makes of SIGPIPE."""


class Command(BaseCommand):
    """Looks at imports, stops them, and relays them, from a terminal."""

    help = "Lists, shows, watches, cancels and relays imports."

    def add_arguments(self, parser: CommandParser) -> None:
        """Have a parser for each part."""
        parsers = parser.add_subparsers(dest="subcommand", required=True, metavar="command")
        for name, module in SUBCOMMANDS.items():
            sub = parsers.add_parser(name, help=module.HELP, description=module.HELP)
            sub.add_argument("--namespace", help="another one than IMPORT_PROGRESS's NAMESPACE")
            module.add_arguments(sub)

    def handle(self, *args: Any, subcommand: str, **options: Any) -> None:
        """Do what was asked.

        Raises:
            CommandError: it cannot be done; the text says why, and what would help.
        """
        namespace = options["namespace"]
        if namespace is not None and not is_namespace(namespace):
            raise CommandError(f"{namespace!r} is no namespace: use {NAMESPACE_RULE}")
        with suppress(AttributeError):  # What is no file cannot, and need not.
            self.stdout.reconfigure(errors="backslashreplace")
        try:
            SUBCOMMANDS[subcommand].handle(self, options)
            self.stdout.flush()
        except BrokenPipeError:
            self._leave_the_pipe()
        except (InvalidJobId, InvalidProgress) as error:
            raise CommandError(str(error)) from error
        except ProgressUnavailable as error:
            raise CommandError(
                f"Redis does not answer at {without_secrets(settings.redis_url)}; start it there,"
                " or set REDIS_URL in the environment or in IMPORT_PROGRESS to where it is"
            ) from error

    def _leave_the_pipe(self) -> None:
        """End quietly: whoever reads has read enough, as `head` does.

        Source: https://docs.python.org/3/library/signal.html#note-on-sigpipe
        """
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.stdout.fileno())
        sys.exit(PIPE_CLOSED)
