"""Build, check and tag the version that stands in the tree; what is published is said at the end.

Usage: release.py [--dry-run]: everything but the tag, and whatever the tree's state is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import check_dist

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
HEADING = re.compile(r"^## \[(?P<name>[^]]+)\](?: - (?P<day>\d{4}-\d\d-\d\d))?$", re.MULTILINE)


class NotReadyError(Exception):
    """Something has to be done before there can be a release; the message says what."""


def version_of(text: str) -> str:
    """Return the version that `version.py` gives."""
    found = re.search(r'^__version__ = "(\d+\.\d+\.\d+)"$', text, re.MULTILINE)
    if not found:
        raise NotReadyError("version.py has no __version__ of three numbers")
    return found[1]


def check_changelog(text: str, version: str) -> None:
    """See that the changelog's newest release is this version, dated, with nothing above it."""
    headings = list(HEADING.finditer(text))
    if len(headings) < 2 or headings[0]["name"] != "Unreleased":
        raise NotReadyError("CHANGELOG.md begins with no [Unreleased], or has no release below it")
    unreleased, newest = headings[:2]
    if text[unreleased.end() : newest.start()].strip():
        raise NotReadyError("CHANGELOG.md: what stands under [Unreleased] belongs to the release")
    if newest["name"] != version or not newest["day"]:
        raise NotReadyError(f"CHANGELOG.md: its newest release is not `## [{version}] - <day>`")


def git(*arguments: str) -> str:
    """Run git in the tree, and return what it says."""
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def check_tree(version: str) -> None:
    """See that all is committed, and that the version has no tag yet."""
    if git("status", "--porcelain"):
        raise NotReadyError("the tree has changes that are not committed")
    if git("tag", "--list", f"v{version}"):
        raise NotReadyError(f"v{version} is tagged already: raise __version__ in version.py")


def build() -> None:
    """Build both artefacts, and see that they are complete, work, and are described well."""
    shutil.rmtree(DIST, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--outdir", DIST], cwd=ROOT, check=True)
    artefacts = sorted(DIST.iterdir())
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *artefacts], check=True)
    check_dist.main(DIST, both=True)


def main(*, dry_run: bool) -> None:
    """Do it."""
    version = version_of((ROOT / "django_import_progress" / "version.py").read_text())
    if not dry_run:
        check_tree(version)
        check_changelog((ROOT / "CHANGELOG.md").read_text(), version)
    build()
    if dry_run:
        print(f"{version} can be built and installed; nothing was tagged")
        return
    git("tag", "--annotate", f"v{version}", "--message", f"Version {version}")
    print(f"v{version} is tagged. To publish it: git push origin v{version}; twine upload dist/*")


if __name__ == "__main__":
    try:
        main(dry_run="--dry-run" in sys.argv)
    except NotReadyError as error:
        sys.exit(f"release: {error}")
