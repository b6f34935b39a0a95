"""The reference has every public name: what pages import, and what a site can set, use or see."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from inspect import getdoc, isclass, isroutine
from typing import Any

import pytest
import yaml
from django.core.management import load_command_class

import django_import_progress
from django_import_progress import ProgressManager, SyncProgressManager
from django_import_progress.access import Job
from django_import_progress.conf import KEYS
from django_import_progress.contrib.prometheus import ProgressCollector
from django_import_progress.core import errors
from django_import_progress.core.snapshot import KNOWN, TRACKED
from django_import_progress.templatetags.import_progress import register
from django_import_progress.tracker import ImportTracker
from django_import_progress.urls import urlpatterns

from ..kit.admin import add_admin
from ..kit.documented import blocks, pages
from ..kit.servers import ROOT

PACKAGE = django_import_progress.__name__
SECTIONS = dict(
    section.split("\n", 1) for section in (ROOT / "docs/reference.md").read_text().split("\n## ")
)
OWN = {"open_cell", "close_cell", "deactivate", "batch", *KNOWN, *TRACKED}
"""Names of a tracker's that only this package uses, or that refuse to be used."""
ERRORS = [name for name, thing in vars(errors).items() if isclass(thing)]
DIRECTIVE = re.compile(r"^::: (?P<path>[\w.]+)\n(?P<more>(?: +.*\n)*)", re.MULTILINE)


def documented() -> Iterator[str]:
    """Yield the paths of what `docs/api.md` has mkdocstrings draw, as they stand there."""
    for match in DIRECTIVE.finditer((ROOT / "docs/api.md").read_text() + "\n"):
        path, options = match["path"], (yaml.safe_load(match["more"]) or {}).get("options", {})
        place = ROOT / path.replace(".", "/")
        if place.is_dir() or place.with_suffix(".py").exists():  # A module, of which some is drawn.
            names = options.get("members") or ERRORS
            yield from (f"{path}.{name}" for name in names)
        else:
            yield path


def resolved(path: str) -> object:
    """Return what an absolute path leads to: a module, or something in one."""
    try:
        return import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(import_module(module), name)


def imported() -> Iterator[str]:
    """Yield the path of whatever a page's Python imports of the package."""
    for page in pages():
        for block in blocks(page):
            if block.language == "python":
                for node in ast.walk(ast.parse(block.code)):
                    if isinstance(node, ast.ImportFrom) and str(node.module).startswith(PACKAGE):
                        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def found(pattern: str, file: str) -> list[str]:
    """Return what matches in a file of the package."""
    return re.findall(pattern, (ROOT / PACKAGE / file).read_text())


def subcommands() -> list[str]:
    """Return what may stand behind `manage.py import_progress`."""
    parser: Any = load_command_class(PACKAGE, "import_progress").create_parser("", "")
    [choices] = (action.choices for action in parser._actions if hasattr(action.choices, "keys"))
    return sorted(choices)


STATIC, TEMPLATES = (f"{folder}/{PACKAGE}" for folder in ("static", "templates"))
SUBCOMMANDS = subcommands()
DOCUMENTED = sorted(documented())
PUBLIC = {f"{PACKAGE}.{name}" for name in django_import_progress.__all__} | set(imported())


def test_pages_import_what_is_looked_for() -> None:
    assert f"{PACKAGE}.contrib.celery.ImportTask" in PUBLIC
    assert f"{PACKAGE}.admin.ProgressAdminMixin" in PUBLIC


@pytest.fixture
def with_admin(settings: Any) -> None:
    """Have the site be one in which each module can be imported."""
    add_admin(settings)


@pytest.mark.usefixtures("with_admin")
def test_what_can_be_imported_is_drawn_from_its_docstring() -> None:
    drawn = {id(resolved(path)) for path in DOCUMENTED}
    assert [path for path in sorted(PUBLIC) if id(resolved(path)) not in drawn] == []


@pytest.mark.usefixtures("with_admin")
def test_what_is_drawn_says_something() -> None:
    things = {path: resolved(path) for path in DOCUMENTED}
    code = {path: thing for path, thing in things.items() if isclass(thing) or isroutine(thing)}
    methods = {
        f"{path}.{name}": method
        for path, thing in code.items()
        for name, method in vars(thing).items()
        if isroutine(method) and not name.startswith("_") and name != "objects"
    }
    assert len(methods) > 20
    assert [path for path, thing in (code | methods).items() if not getdoc(thing)] == []


@pytest.mark.parametrize("manager", [ProgressManager, SyncProgressManager])
def test_each_verb_is_in_the_table(manager: type) -> None:
    rows = set(re.findall(r"^\| `(\w+)\(", SECTIONS["Managers"], re.MULTILINE))
    verbs = {name for name in vars(manager) if not name.startswith("_")}
    inherited = {name for base in manager.__mro__[1:-1] for name in vars(base) if name[0] != "_"}
    assert rows <= verbs | inherited
    assert rows >= {
        *("set_progress", "get_progress", "publish_update", "update", "create"),
        *("request_cancel", "delete", "jobs", "watch"),
    }


def test_each_setting_is_in_the_table() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \|", SECTIONS["Settings"], re.MULTILINE)
    assert rows == list(KEYS)


def test_each_address_is_in_the_table() -> None:
    rows = re.findall(r"^\| `[^`]+` \| `(\w+)` \|", SECTIONS["HTTP endpoints"], re.MULTILINE)
    assert sorted(rows) == sorted(str(pattern.name) for pattern in urlpatterns)


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("docs/widget.md", list(register.tags)),
        ("docs/reference.md", list(register.tags)),
        ("docs/security.md", found(r'_id\("(\w+)"\)', "checks.py")),
        ("docs/reference.md", found(r'_id\("(\w+)"\)', "checks.py")),
        ("docs/reference.md", sorted({path.split(".")[-1] for path in PUBLIC | {*DOCUMENTED}})),
        ("docs/reference.md", SUBCOMMANDS),
        ("docs/metrics.md", [metric.name for metric in ProgressCollector().collect()]),
        ("docs/widget.md", sorted({*found(r"\bdata-[a-z]+(?==)", f"{TEMPLATES}/bar.html")})),
        ("docs/reference.md", found(r'"(E\d+)"', "conf.py")),
        (
            "docs/reference.md",
            [name for name in dir(ImportTracker) if name[0] != "_" and name not in OWN],
        ),
        ("docs/reference.md", [field.name for field in fields(Job)]),
        ("docs/reference.md", ERRORS),
    ],
)
def test_the_names_of_a_kind_are_on_its_page(page: str, names: list[str]) -> None:
    text = (ROOT / page).read_text()
    assert names
    # `events` is `events_total` there, as Prometheus names it.
    assert [name for name in names if not re.search(rf"\b{name}(_total)?\b", text)] == []


@pytest.mark.parametrize(
    ("pattern", "file"),
    [
        (r"var\(--(import-progress-[a-z]+)[,)]", f"{STATIC}/import-progress.css"),
        (r"(?<=[ \"])import-progress-[a-z]+(?=[ \"])", f"{TEMPLATES}/bar.html"),
        (r"(?<=[ \"])import-progress-[a-z]+(?=[ \"])", f"{TEMPLATES}/list.html"),
    ],
)
def test_what_a_site_styles_is_on_the_widgets_page(pattern: str, file: str) -> None:
    text = (ROOT / "docs/widget.md").read_text()
    short = {name.removeprefix("import-progress") for name in found(pattern, file)}
    assert short
    assert [name for name in short if not re.search(rf"[`s]{name}`", text)] == []


def test_each_subcommand_is_in_the_table() -> None:
    text = (ROOT / "docs/command-line.md").read_text()
    rows = re.findall(r"^\| `(\w+)[^`]*` \|", text, re.MULTILINE)
    assert sorted(rows) == SUBCOMMANDS
