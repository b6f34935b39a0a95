"""Checks of releases and of the working tree."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

import django_import_progress

from .kit.started import ROOT

CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-11-26\n\n### Added\n\n- This.\n"


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The command's module, and what it imports."""
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    yield import_module("release")
    for name in ("release", "check_dist"):
        del sys.modules[name]


def test_the_version_is_found(release: Any) -> None:
    text = (ROOT / "django_import_progress" / "version.py").read_text()
    assert release.version_of(text) == django_import_progress.__version__
    with pytest.raises(release.NotReadyError):
        release.version_of('__version__ = "1.0"')


def test_a_changelog_that_is_ready(release: Any) -> None:
    release.check_changelog(CHANGELOG, "1.2.3")


@pytest.mark.parametrize(
    "changelog",
    [
        "# Changelog\n\n## [Unreleased]\n",
        CHANGELOG.replace("## [Unreleased]\n", ""),
        CHANGELOG.replace("[Unreleased]\n", "[Unreleased]\n\n- Something more.\n"),
        CHANGELOG.replace("1.2.3", "1.2.2"),
        CHANGELOG.replace(" - 2026-11-26", ""),
    ],
)
def test_a_changelog_that_is_not(release: Any, changelog: str) -> None:
    with pytest.raises(release.NotReadyError, match=r"CHANGELOG.md"):
        release.check_changelog(changelog, "1.2.3")


def test_our_own_changelog_has_an_unreleased_section_first(release: Any) -> None:
    headings = release.HEADING.finditer((ROOT / "CHANGELOG.md").read_text())
    assert next(headings)["name"] == "Unreleased"


def test_a_tree_with_changes_or_a_tag_is_not_ready(
    release: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "ROOT", tmp_path)
    release.git("init", "--quiet")
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    release.git(*who, "commit", "--quiet", "--allow-empty", "--message", "Begin")
    release.check_tree("1.2.3")
    (tmp_path / "new.py").touch()
    with pytest.raises(release.NotReadyError, match="not committed"):
        release.check_tree("1.2.3")
    (tmp_path / "new.py").unlink()
    release.git("tag", "v1.2.3")
    with pytest.raises(release.NotReadyError, match="tagged already"):
        release.check_tree("1.2.3")


def test_a_source_distribution_has_what_is_tracked_and_nothing_else(release: Any) -> None:
    differences = release.check_dist.differences
    packed = {"README.md", "PKG-INFO", "setup.cfg", "django_import_progress.egg-info/SOURCES.txt"}
    assert differences({"README.md", ".ci/run", ".gitignore"}, packed) == []
    assert differences({"README.md", "a.svg"}, packed) == ["lacks a.svg"]
    assert differences(set(), {"b.pyc"}) == ["has b.pyc"]


def test_what_is_not_ready_is_neither_built_nor_tagged(
    release: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "ROOT", tmp_path)
    release.git("init", "--quiet")
    (tmp_path / "django_import_progress").mkdir()
    (tmp_path / "django_import_progress" / "version.py").write_text('__version__ = "1.2.3"\n')
    with pytest.raises(release.NotReadyError, match="not committed"):
        release.main(dry_run=False)
    assert release.git("tag") == ""
    assert not (tmp_path / "dist").exists()


def test_tox_runs_what_the_classifiers_promise() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    promised = [name.split(" :: ") for name in project["project"]["classifiers"]]
    factors = {part for name in project["tool"]["tox"]["env_list"] for part in name.split("-")}
    assert factors >= {
        f"{what.lower().replace('python', 'py')}{version.replace('.', '')}"
        for *_, what, version in promised
        if what in {"Python", "Django"} and "." in version
    }


def test_hooks_run_what_there_is() -> None:
    [local] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    makefile = (ROOT / "Makefile").read_text()
    for hook in local["hooks"]:
        make, target = hook["entry"].split()
        assert make == "make"
        assert f"\n{target}:" in makefile
