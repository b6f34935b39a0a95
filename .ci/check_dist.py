"""Check that the built artefacts have all that users need, and that the wheel works when installed.

Usage: check_dist.py FOLDER
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

PACKAGE = Path("django_import_progress")
PROMISED = (
    "py.typed",
    "locale/de/LC_MESSAGES/django.mo",
    "static/django_import_progress/import-progress.css",
    "static/django_import_progress/import-progress.js",
    "templates/django_import_progress/assets.html",
    "templates/django_import_progress/bar.html",
)
SDIST = (
    *(str(PACKAGE / name) for name in PROMISED),
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "docs/reference.md",
    "example_project/manage.py",
    "example_project/airports/importer.py",
    "tests/conftest.py",
)
SMOKE = """
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.staticfiles", "django_import_progress"],
    ROOT_URLCONF="django_import_progress.urls", STATIC_URL="/static/",
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
)
django.setup()
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.template import engines
from django.utils.translation import gettext, override
call_command("check")
assert finders.find("django_import_progress/import-progress.js")
tags = engines["django"].from_string("{% load import_progress %}{% import_progress_assets %}")
assert "import-progress.js" in tags.render()
with override("de"):
    assert gettext("Done") == "Fertig"
"""


def fail(message: str) -> None:
    """End with `message`."""
    sys.exit(f"check_dist: {message}")


def only(folder: Path, pattern: str) -> Path:
    """Return the one file of `folder` that matches."""
    found = list(folder.glob(pattern))
    if len(found) != 1:
        fail(f"expected one {pattern} in {folder}, found {len(found)}")
    return found[0]


def check_names(what: Path, present: set[str], promised: tuple[str, ...]) -> None:
    """End with an error where something promised is not there, or something is that must not be."""
    if lacking := [name for name in promised if name not in present]:
        fail(f"{what.name} lacks {', '.join(lacking)}")
    if stray := [name for name in present if "__pycache__" in name or "/var/" in name]:
        fail(f"{what.name} has {', '.join(stray)}")


def main(folder: Path) -> None:
    """Check the wheel's and the sdist's content, then install the wheel and use it."""
    wheel, sdist = only(folder, "*.whl"), only(folder, "*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    check_names(wheel, names, tuple(str(PACKAGE / name) for name in PROMISED))
    if strangers := {name.split("/")[0] for name in names if not name.startswith(str(PACKAGE))}:
        fail(f"{wheel.name} would install {', '.join(strangers)}")
    with tarfile.open(sdist) as tar:
        check_names(sdist, {name.partition("/")[2] for name in tar.getnames()}, SDIST)
    with tempfile.TemporaryDirectory() as place:
        venv.create(place, with_pip=True)
        python = Path(place) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", wheel.resolve()], check=True)
        subprocess.run([python, "-c", SMOKE], check=True, cwd=place)
    print(f"{wheel.name} and {sdist.name} are complete, and the wheel works when installed")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
