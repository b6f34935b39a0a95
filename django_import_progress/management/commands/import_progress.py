"""`manage.py import_progress`: runs a subcommand, and turns errors into messages."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from types import ModuleType
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...conf import settings
from ...core.errors import HistoryUnavailable, InvalidJobId, InvalidProgress, ProgressUnavailable
from ...core.keys import NAMESPACE_RULE, is_namespace
from ...redis.factory import without_secrets
from ..subcommands import cancel, prune, reconcile, rejects, relay, show, watch
from ..subcommands import list as list_jobs

SUBCOMMANDS: dict[str, ModuleType] = {
    "list": list_jobs,
    "show": show,
    "watch": watch,
    "cancel": cancel,
    "rejects": rejects,
    "relay": relay,
    "reconcile": reconcile,
    "prune": prune,
}

PIPE_CLOSED = 141
"""The exit code that shells report for SIGPIPE."""


def _namespace(given: str | None) -> str:
    """Return the namespace of the command line, or else of the setting.

    Raises:
        CommandError: it is invalid, or the setting depends on a tenant and there is none.
    """
    if given is not None:
        if not is_namespace(given):
            raise CommandError(f"Invalid namespace {given!r}: use {NAMESPACE_RULE}")
        return given
    try:
        return settings.namespace
    except ImproperlyConfigured:
        raise
    except Exception as error:
        raise CommandError(
            f"NAMESPACE raised {type(error).__name__}: {error}. If it depends on the tenant, pass"
            " --namespace, or run this command for one tenant."
        ) from error


def has_all(module: ModuleType) -> bool:
    """Return whether a subcommand works on all namespaces by default."""
    return hasattr(module, "ALL_NAMESPACES")


class Command(BaseCommand):
    """Lists, shows, watches, cancels and relays imports, and maintains their history."""

    help = "Lists, shows, watches, cancels and relays imports, and maintains their history."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add a parser for each subcommand."""
        parsers = parser.add_subparsers(dest="subcommand", required=True, metavar="command")
        for name, module in SUBCOMMANDS.items():
            sub = parsers.add_parser(name, help=module.HELP, description=module.HELP)
            default = "all" if has_all(module) else "NAMESPACE in IMPORT_PROGRESS"
            sub.add_argument("--namespace", help=f"the jobs' namespace (default: {default})")
            module.add_arguments(sub)

    def handle(self, *args: Any, subcommand: str, **options: Any) -> None:
        """Run the subcommand.

        Raises:
            CommandError: it failed; the message has the reason and a fix.
        """
        module = SUBCOMMANDS[subcommand]
        if options["namespace"] is not None or not has_all(module):
            options["namespace"] = _namespace(options["namespace"])
        with suppress(AttributeError):  # Only real files have an encoding.
            self.stdout.reconfigure(errors="backslashreplace")
        try:
            module.handle(self, options)
            self.stdout.flush()
        except BrokenPipeError:
            self._exit_with_closed_pipe()
        except (InvalidJobId, InvalidProgress) as error:
            raise CommandError(str(error)) from error
        except HistoryUnavailable as error:
            raise CommandError(
                "The import history is unavailable: check the database and the storage of reports"
            ) from error
        except ProgressUnavailable as error:
            raise CommandError(
                f"Cannot reach Redis at {without_secrets(settings.redis_url)}: start it, or set"
                " REDIS_URL in the environment or in IMPORT_PROGRESS"
            ) from error

    def _exit_with_closed_pipe(self) -> None:
        """Exit without a traceback: the reader has closed the pipe, as `head` does.

        Source: https://docs.python.org/3/library/signal.html#note-on-sigpipe
        """
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.stdout.fileno())
        sys.exit(PIPE_CLOSED)
