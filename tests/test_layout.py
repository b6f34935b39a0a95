"""The layout of the package: its layers, and how large folders and files may be."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

import django_import_progress

PACKAGE = Path(django_import_progress.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

LAYERS = [
    {"core", "cancellation", "metrics", "release", "representation", "signals", "version"},
    {"kinds", "redis"},
    {"conf", "watch"},
    {"service"},
    {"access", "relay", "tracker"},
    {"checks", "web", "widget"},
    {"admin"},
    {"history"},
    {"management"},
    {"__init__", "apps", "asgi", "contrib", "routing", "templatetags", "urls"},
    {"testing"},
]
"""Folders and modules of the package, from the bottom up: each imports only what is below it."""

MOST_MODULES = 15
"""So many modules a folder may have."""

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


def layer_of(name: str) -> int:
    """Return the number of a module's layer."""
    [number] = [n for n, layer in enumerate(LAYERS) if name.split(".", maxsplit=1)[0] in layer]
    return number


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_only_from_its_own_folder_and_from_layers_below(name: str) -> None:
    folder, layer = name.split(".", maxsplit=1)[0], layer_of(name)
    inner, outer = imports(name)
    # What a package exports comes from its own layer: `from . import …`.
    wrong = {other for other in inner if other and other.split(".")[0] != folder}
    wrong = {other for other in wrong if layer_of(other) >= layer}
    assert not wrong or name == "__init__"
    assert "django_import_progress" not in outer


def test_no_modules_import_each_other() -> None:
    todo = {
        name: {n if n in MODULES else f"{n}.__init__" for n in imports(name)[0]} for name in MODULES
    }
    todo = {name: {n for n in inner if n in MODULES} for name, inner in todo.items()}
    while todo:
        free = {name for name, inner in todo.items() if not inner & set(todo)}
        assert free, f"these import each other: {sorted(todo)}"
        todo = {name: inner for name, inner in todo.items() if name not in free}


def test_folders_stay_small() -> None:
    folders = Counter(path.parent for path in MODULES.values() if path.name != "__init__.py")
    assert {folder: n for folder, n in folders.items() if n > MOST_MODULES} == {}


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
        assert len(text.splitlines()) <= 500, name
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
