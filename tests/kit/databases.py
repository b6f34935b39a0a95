"""PostgreSQL and MariaDB servers of the tests' own, to which the history is routed."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
from django.contrib.contenttypes.management import create_contenttypes
from django.core.management import call_command
from django.db import Error, connections
from django.db.models.signals import post_migrate

from .processes import free_port
from .waiting import wait_for

APP = "import_progress_history"
ACCOUNTS = {"postgresql": "postgres", "mariadb": "mysql"}
"""Whose processes the servers are where the tests run as root: PostgreSQL refuses that."""

# Django asks for mysqlclient, which needs a compiler.
pymysql.version_info = (2, 2, 1, "final", 0)  # type: ignore[assignment, unused-ignore]
pymysql.install_as_MySQLdb()


def program(name: str) -> str | None:
    """Return the path of a server's program; Debian does not put all of them into the PATH."""
    found = [*Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), *Path("/usr/sbin").glob(name)]
    return shutil.which(name) or next(map(str, sorted(found, reverse=True)), None)


class DatabaseServer:
    """A server with one database, in a folder of its own and on a free port.

    Args:
        kind: ``postgresql`` or ``mariadb``.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix=f"{kind}-of-a-test-"))
        self._data = self._directory / "data"
        self._account = {"user": ACCOUNTS[kind]} if os.geteuid() == 0 else {}
        if self._account:  # pragma: no branch - only root has to give it away
            shutil.chown(self._directory, **self._account)
        self._process: subprocess.Popen[bytes] | None = None
        getattr(self, f"_make_{kind}")()

    @staticmethod
    def is_there(kind: str) -> bool:
        """Return whether this machine has the programs."""
        names = ["postgres", "initdb"] if kind == "postgresql" else ["mariadbd"]
        return all(program(name) for name in names)

    def _make_postgresql(self) -> None:
        options = ["--auth=trust", "--username=root", "--encoding=UTF8", "--no-sync"]
        self._run("initdb", f"--pgdata={self._data}", *options)
        settings = ["fsync=off", "listen_addresses=127.0.0.1", "unix_socket_directories="]
        self._command = [str(program("postgres")), "-D", str(self._data), "-p", str(self.port)]
        self._command += [part for setting in settings for part in ("-c", setting)]
        self.settings: dict[str, Any] = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "OPTIONS": {"connect_timeout": 5},
        }

    def _make_mariadb(self) -> None:
        given = ["--no-defaults", f"--datadir={self._data}"]
        normal = "--auth-root-authentication-method=normal"
        self._run("mariadb-install-db", *given, normal, "--skip-test-db")
        self._command = [str(program("mariadbd")), *given, f"--port={self.port}"]
        self._command += ["--bind-address=127.0.0.1", f"--socket={self._directory}/socket"]
        self._command += [f"--pid-file={self._directory}/pid", "--innodb-flush-log-at-trx-commit=0"]
        self.settings = {
            "ENGINE": "django.db.backends.mysql",
            "NAME": "test",
            "OPTIONS": {"connect_timeout": 5, "charset": "utf8mb4"},
        }

    def _run(self, name: str, *options: str) -> None:
        subprocess.run(
            [str(program(name)), *options], check=True, capture_output=True, **self._account
        )

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._directory,
            **self._account,
        )
        atexit.register(self.close)  # A test that fails half-way leaves nothing behind.

    def stop(self) -> None:
        """End the server at once; what was committed stays."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """End the server, and remove its files; more than once, if need be."""
        atexit.unregister(self.close)
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def connection(self) -> dict[str, Any]:
        """The entry in Django's `DATABASES`."""
        given = {"HOST": "127.0.0.1", "PORT": str(self.port), "USER": "root"}
        return {**self.settings, **given}


class HistoryRouter:
    """Routes the history to one database."""

    alias = "default"

    def db_for_read(self, model: Any, **_: Any) -> str | None:
        return self.alias if model._meta.app_label == APP else None

    db_for_write = db_for_read


def look_for_no_permissions() -> None:
    """Have `migrate` and `flush` create no permissions and content types.

    Each test that writes would do so, and some databases have no tables for them. A test that
    changes `INSTALLED_APPS` has Django connect these receivers again.
    """
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    post_migrate.disconnect(create_contenttypes)


@contextmanager
def served(kind: str) -> Iterator[DatabaseServer]:
    """Serve a database under the alias `kind`, with the history's tables."""
    look_for_no_permissions()
    server = DatabaseServer(kind)
    server.start()
    defaults = connections.configure_settings({"default": {}, kind: server.connection})
    connections.settings[kind] = defaults[kind]
    try:
        create_database(kind)
        call_command("migrate", APP, database=kind, verbosity=0)
        yield server
    finally:
        connections[kind].close()
        server.close()
        del connections.settings[kind]
        del connections[kind]


def create_database(alias: str, charset: str = "utf8mb4") -> None:
    """Create the database if the server has none of its own, and wait until it is there."""

    def can_connect() -> bool:
        try:
            connections[alias].ensure_connection()
        except Error as error:
            if "Unknown database" in str(error):
                given = connections[alias].get_connection_params()
                name = given.pop("database")
                with pymysql.connect(**given) as connection, connection.cursor() as cursor:
                    cursor.execute(f"CREATE DATABASE {name} CHARACTER SET {charset}")
            return False
        return True

    wait_for(can_connect, f"the {alias} server")
