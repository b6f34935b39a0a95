"""`manage.py import_progress`: which of its parts is meant, and what went wrong, in words."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...addresses import without_secrets
from ...conf import settings
from ...core.errors import InvalidJobId, InvalidProgress, ProgressUnavailable
from ..subcommands import cancel, show, watch
from ..subcommands import list as list_jobs

SUBCOMMANDS: dict[str, ModuleType] = {
    "list": list_jobs,
    "show": show,
    "watch": watch,
    "cancel": cancel,
}


class Command(BaseCommand):
    """Looks at imports, and stops them, from a terminal."""

    help = "Lists, shows, watches and cancels imports."

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
        try:
            SUBCOMMANDS[subcommand].handle(self, options)
        except (InvalidJobId, InvalidProgress) as error:
            raise CommandError(str(error)) from error
        except ProgressUnavailable as error:
            raise CommandError(
                f"Redis does not answer at {without_secrets(settings.redis_url)}; start it there,"
                " or set REDIS_URL in the environment or in IMPORT_PROGRESS to where it is"
            ) from error
