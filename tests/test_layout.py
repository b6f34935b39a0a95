"""The house: who may import whom, and how large a file may be."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import django_import_progress

PACKAGE = Path(django_import_progress.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {
        *("addresses", "connections", "core.errors", "manager", "sync", "tracker", "version"),
    },
    "access": {
        *("conf", "core.errors", "core.keys", "core.snapshot", "manager", "release", "tickets"),
        "visitors",
    },
    "addresses": {"clients", "clusters", "lazy", "sentinels", "url_options"},
    "admin": {"reads", "widgets"},
    "apps": {"checks"},
    "asgi": {
        *("access", "connections", "core.resume", "limits", "opening", "pushing", "tickets"),
        *("views", "visitors"),
    },
    "awaited": {"exits", "flag"},
    "breakers": {"core.breaker", "core.errors"},
    "callbacks": set(),
    "cancellation": set(),
    "cancelling": {"access", "core.state", "manager", "visitors"},
    "causes": set(),
    "checks": {"access", "addresses", "conf", "core.keys", "tickets", "visitors"},
    "cleaning": {"core.errors", "verbs"},
    "clients": {
        *("causes", "core.call", "core.errors", "deadlines", "hashslots", "lazy", "places"),
        "pools",
    },
    "clusters": {"clients"},
    "conf": {"addresses", "core.calls", "core.keys", "url_options"},
    "connections": {"addresses", "breakers", "clients", "conf", "hub", "manager", "sync"},
    "consumers": {
        *("access", "connections", "core.errors", "limits", "manager", "opening", "origins"),
        *("release", "sockets", "tickets", "visitors"),
    },
    "contrib.__init__": set(),
    "contrib.celery": {
        *("connections", "contrib.celery_tracker", "contrib.queueing", "contrib.redelivery"),
        *("core.calls", "core.errors", "core.keys", "core.snapshot", "endings", "sync", "tracker"),
    },
    "contrib.celery_tracker": {"contrib.queueing", "core.errors", "endings", "tracker"},
    "contrib.celery_worker": {"contrib.queueing"},
    "contrib.import_export": {"contrib.import_export_admin", "core.errors", "core.keys", "tracker"},
    "contrib.import_export_admin": {"conf", "core.errors"},
    "contrib.prometheus": {"connections", "limits", "tally", "writer"},
    "contrib.queueing": {"connections", "core.errors", "core.snapshot", "endings", "sync"},
    "contrib.redelivery": {
        *("clients", "connections", "contrib.queueing", "core.call", "core.errors"),
        *("core.scripts", "core.snapshot", "sync"),
    },
    "core.__init__": set(),
    "core.answers": {"core.snapshot"},
    "core.attempt": {"core.snapshot"},
    "core.breaker": set(),
    "core.call": {"core.scripts"},
    "core.calls": {
        *("core.attempt", "core.call", "core.errors", "core.keys", "core.listing", "core.outcome"),
        *("core.scripts", "core.snapshot"),
    },
    "core.checks": {"core.call", "core.keys", "core.outcome", "core.scripts", "core.snapshot"},
    "core.commands": {"core.snapshot"},
    "core.errors": set(),
    "core.keys": {"core.errors"},
    "core.listing": {"core.call", "core.errors", "core.keys", "core.scripts", "core.snapshot"},
    "core.outcome": {"core.snapshot"},
    "core.pacing": set(),
    "core.prelude": {"core.rights"},
    "core.resume": {"core.snapshot"},
    "core.rights": set(),
    "core.scripts": {"core.prelude", "core.rights"},
    "core.snapshot": {"core.errors"},
    "core.sse": set(),
    "core.state": {"core.answers", "core.resume", "core.snapshot", "core.sse"},
    "core.terminal": {"core.snapshot"},
    "core.view": {"core.snapshot", "core.state"},
    "counted": set(),
    "counts": {"cleaning", "core.errors", "core.pacing", "core.snapshot", "counted", "room"},
    "deadlines": set(),
    "displays": {"core.state", "core.terminal"},
    "endings": {"conf", "core.errors", "core.snapshot"},
    "exits": set(),
    "feed": {
        *("callbacks", "clients", "core.calls", "core.pacing", "core.snapshot", "deadlines", "hub"),
        *("line", "link", "slot"),
    },
    "flag": {"core.pacing"},
    "gathering": set(),
    "hashslots": set(),
    "heartbeats": {
        *("clients", "core.call", "core.checks", "core.errors", "core.scripts", "core.view"),
        *("sentinels", "slot"),
    },
    "hub": {
        *("callbacks", "clients", "core.calls", "core.state", "link", "losses", "sharded", "slot"),
        "tally",
    },
    "interrupts": {"core.attempt", "core.errors", "counts"},
    "lazy": set(),
    "limits": set(),
    "line": {"core.pacing", "deadlines", "gathering"},
    "link": {
        *("cancellation", "clients", "core.call", "core.errors", "core.pacing", "core.snapshot"),
        *("hashslots", "heartbeats", "line", "pools", "reading", "slot", "subscriptions", "tally"),
    },
    "list_view": {"core.answers", "lists"},
    "lists": {
        *("conf", "connections", "core.calls", "core.errors", "core.snapshot", "reads", "widgets"),
    },
    "losses": {"cancellation", "clients", "core.errors", "core.pacing", "tally"},
    "management.__init__": set(),
    "management.commands.__init__": set(),
    "management.commands.import_progress": {
        *("addresses", "conf", "core.errors", "core.keys", "management.subcommands.cancel"),
        *("management.subcommands.list", "management.subcommands.relay"),
        *("management.subcommands.show", "management.subcommands.watch"),
    },
    "management.subcommands.__init__": set(),
    "management.subcommands.cancel": {"connections"},
    "management.subcommands.list": {"connections", "core.snapshot", "core.state", "core.terminal"},
    "management.subcommands.relay": {"conf", "connections", "relay"},
    "management.subcommands.show": {"connections", "core.keys", "core.snapshot", "core.terminal"},
    "management.subcommands.watch": {
        *("addresses", "conf", "connections", "core.errors", "core.keys", "core.state", "displays"),
        "hub",
    },
    "manager": {
        *("breakers", "clients", "core.call", "core.calls", "core.keys", "core.listing"),
        *("core.snapshot", "core.state", "hub", "verbs", "written"),
    },
    "opening": {
        *("conf", "core.answers", "core.sse", "limits", "manager", "sources", "tickets"),
    },
    "origins": set(),
    "pipelines": {"clients", "core.call", "hashslots"},
    "places": set(),
    "pools": {"places"},
    "pushing": {"cancellation", "opening", "sources", "streams"},
    "reading": {"cancellation", "core.errors", "slot"},
    "reads": {"conf", "connections", "core.errors", "core.keys", "core.snapshot"},
    "relay": {
        *("cancellation", "clients", "conf", "core.errors", "core.keys", "core.listing"),
        *("core.pacing", "core.snapshot", "core.state", "feed", "hub", "line", "link", "manager"),
        "pipelines",
    },
    "release": set(),
    "room": {"core.snapshot", "verbs"},
    "routing": {"consumers", "core.keys"},
    "samples": {"core.snapshot"},
    "sentinels": set(),
    "shard": {"cancellation", "core.snapshot", "line", "subscriptions"},
    "sharded": {
        *("callbacks", "cancellation", "clients", "core.errors", "deadlines", "link", "losses"),
        *("shard", "slot", "subscriptions"),
    },
    "shown": {"core.snapshot", "core.terminal", "texts"},
    "signals": set(),
    "slot": {"core.calls", "core.checks", "core.view"},
    "sockets": {
        *("access", "cancellation", "cancelling", "conf", "core.answers", "core.commands"),
        *("core.errors", "core.pacing", "hub", "limits", "manager", "release", "tickets"),
        "visitors",
    },
    "sources": {"core.resume", "core.sse", "core.state", "hub"},
    "streams": {"cancellation", "core.sse", "limits", "release", "sources"},
    "subscriptions": {"clients", "core.call", "deadlines"},
    "sync": {
        *("breakers", "clients", "core.call", "core.calls", "core.errors", "core.keys"),
        *("core.listing", "core.pacing", "core.snapshot", "core.state", "slot", "subscriptions"),
        *("verbs", "written"),
    },
    "tally": set(),
    "templatetags.__init__": set(),
    "templatetags.import_progress": {"core.keys", "lists", "reads", "widgets"},
    "texts": set(),
    "tickets": {"conf", "core.calls", "core.keys", "core.snapshot"},
    "tracker": {
        *("conf", "connections", "core.calls", "core.errors", "core.keys", "core.snapshot"),
        *("endings", "interrupts", "signals", "sync", "transactions", "verbs", "writer"),
    },
    "transactions": set(),
    "url_options": set(),
    "urls": {"list_view", "views"},
    "verbs": {"clients", "core.calls", "core.keys", "core.snapshot"},
    "version": set(),
    "views": {
        *("access", "cancelling", "connections", "core.answers", "core.errors", "core.resume"),
        *("core.snapshot", "core.sse", "core.state", "limits", "manager", "opening", "streams"),
        *("tickets", "visitors"),
    },
    "visitors": set(),
    "widgets": {
        *("conf", "core.keys", "core.snapshot", "core.state", "reads", "shown", "texts", "tickets"),
    },
    "writer": {
        *("awaited", "clients", "core.attempt", "core.errors", "core.pacing", "core.snapshot"),
        *("endings", "exits", "flag", "samples", "sync", "verbs"),
    },
    "written": {"core.snapshot"},
}
"""The whole table: a module that is not in it, or imports more or less, fails."""

PURE = {"__future__", "collections", "contextlib", "dataclasses", "datetime", "fractions"}
PURE |= {"enum", "functools", "hashlib", "json", "math", "re", "typing", "uuid"}
"""What the core may import besides itself."""


def imports(name: str) -> tuple[set[str], set[str]]:
    """Return which of our modules a module imports, and which others."""
    inner, outer = set(), set()
    here = name.split(".")
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            outer |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = [*here[: len(here) - node.level], *(node.module or "").split(".")]
            path = ".".join(part for part in base if part)
            nested = {f"{path}.{alias.name}".strip(".") for alias in node.names} & set(MODULES)
            inner |= nested or {path}
        elif isinstance(node, ast.ImportFrom):
            outer.add(str(node.module).split(".")[0])
    return inner, outer


def test_the_table_names_every_module() -> None:
    assert set(MAY_IMPORT) == set(MODULES)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_what_the_table_says(name: str) -> None:
    inner, outer = imports(name)
    assert inner == MAY_IMPORT[name]
    assert "django_import_progress" not in outer


def test_imports_point_one_way() -> None:
    settled: set[str] = set()
    while rest := set(MAY_IMPORT) - settled:
        free = {name for name in rest if MAY_IMPORT[name] <= settled}
        assert free, f"these import each other: {sorted(rest)}"
        settled |= free


@pytest.mark.parametrize("name", [name for name in sorted(MODULES) if name.startswith("core.")])
def test_the_core_is_pure(name: str) -> None:
    assert imports(name)[1] <= PURE


@pytest.mark.parametrize("name", sorted(MODULES))
def test_our_own_modules_are_imported_at_the_top(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    relative = [
        node
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def test_files_stay_small_and_say_what_they_are() -> None:
    for name, path in MODULES.items():
        text = path.read_text()
        assert len(text.splitlines()) <= 400, name
        assert ast.get_docstring(ast.parse(text)), name


def test_the_documentation_has_each_module_and_names_no_file_that_is_not_there() -> None:
    root = PACKAGE.parent
    text = (root / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`([\w/-]+\.(?:py|js|md))`", text))
    places = (PACKAGE, root, PACKAGE / "static" / PACKAGE.name)
    assert [name for name in named if not any((place / name).exists() for place in places)] == []
    paths = {str(path.relative_to(PACKAGE)) for path in MODULES.values()}
    rooms = ("management/", "templatetags/")
    lacking = {path for path in paths - named if not path.startswith(rooms)}
    assert lacking <= {path for path in paths if path.endswith("__init__.py")} | {"version.py"}
