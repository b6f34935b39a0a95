"""The documentation's site: the page on installing, and the pages whose text is another file's."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from typing import Any
from urllib.parse import quote

import pytest

from django_import_progress.redis.embedded import folder_of

from ..kit.documented import blocks, blocks_of
from ..kit.embedded import stop
from ..kit.project import Project
from ..kit.started import ROOT

INSTALL = "docs/install.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OF_THE_TREE = {"demo", "test", "bench", "docs", "release", "lint"}
"""Extras for those who work on the package."""
INSTALLED = """
from django.test import Client
from django.test.utils import setup_test_environment
setup_test_environment()
assert Client().get("/progress/jobs/unknown/").status_code == 404
"""


def test_a_project_that_follows_the_page_has_the_package(blank_project: Project) -> None:
    blank_project.follow(INSTALL)
    blank_project.run("manage.py", "check", "--fail-level", "WARNING")
    blank_project.script(INSTALLED)
    stop(folder_of(quote(str(blank_project.folder / ".import-progress"))))


def test_the_page_names_each_extra_and_version() -> None:
    text = (ROOT / INSTALL).read_text()
    extras = set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE))
    assert extras == set(PROJECT["optional-dependencies"]) - OF_THE_TREE
    for name, kind in (("Python", "Programming Language"), ("Django", "Framework")):
        [versions] = re.findall(rf"^\| {name} \| (.*) \|$", text, re.MULTILINE)
        listed = re.findall(rf"{kind} :: {name} :: (\d+\.\d+)", "\n".join(PROJECT["classifiers"]))
        assert versions == ", ".join(listed)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of mkdocs' hook."""
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    yield import_module("mkdocs_hooks")
    del sys.modules["mkdocs_hooks"]


def test_the_quick_start_is_the_readmes(site: Any) -> None:
    text = site.on_page_markdown((ROOT / "docs/quickstart.md").read_text())
    code = [block.code for block in blocks_of(text)]
    sections = ("Quick start", "Pushed instead of polled")
    assert code == [block.code for section in sections for block in blocks("README.md", section)]
    assert "](tutorial.md)" in text
    assert "](docs/" not in text


def test_the_changelog_is_the_file(site: Any) -> None:
    text = site.on_page_markdown((ROOT / "docs/changelog.md").read_text())
    assert text.strip() == (ROOT / "CHANGELOG.md").read_text().strip()
