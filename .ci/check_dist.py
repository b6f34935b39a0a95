"""Check that the built artefacts have all that they should, and work when installed.

Usage: check_dist.py FOLDER [--both]

The wheel is installed and used; with --both the source distribution, too.
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
LOCALES = Path(__file__).resolve().parents[1] / PACKAGE / "locale"
LANGUAGES = sorted(folder.name for folder in LOCALES.iterdir())
PROMISED = (
    "py.typed",
    *(f"locale/{language}/LC_MESSAGES/django.mo" for language in LANGUAGES),
    "static/django_import_progress/import-progress.css",
    "static/django_import_progress/import-progress.d.ts",
    "static/django_import_progress/import-progress.js",
    "static/django_import_progress/import-progress-list.js",
    "templates/django_import_progress/assets.html",
    "templates/django_import_progress/bar.html",
)
NOT_IN_THE_SDIST = (".ci/", ".editorconfig", ".gitignore", ".pre-commit-config.yaml")
"""What only those who work on the tree need."""
OF_THE_BUILD = ("PKG-INFO", "setup.cfg", "django_import_progress.egg-info/")
"""What comes with any source distribution."""
SMOKE = """
import sys
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
for language in sys.argv[1:]:
    with override(language):
        assert gettext("Queued") != "Queued", language
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


def differences(tracked: set[str], packed: set[str]) -> list[str]:
    """Return what is under version control and not in the source distribution, or the other way."""
    wanted = {name for name in tracked if not name.startswith(NOT_IN_THE_SDIST)}
    found = {name for name in packed if not name.startswith(OF_THE_BUILD)}
    return [
        *(f"lacks {name}" for name in sorted(wanted - found)),
        *(f"has {name}" for name in sorted(found - wanted)),
    ]


def files_of(sdist: Path) -> set[str]:
    """Return the files of a source distribution, as their paths in the tree."""
    with tarfile.open(sdist) as tar:
        return {member.name.partition("/")[2] for member in tar.getmembers() if member.isfile()}


def tracked_files() -> set[str]:
    """Return what is under version control."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return set(listed.strip("\0").split("\0"))


def try_out(artefact: Path) -> None:
    """Install an artefact where nothing else is, and use it."""
    with tempfile.TemporaryDirectory() as place:
        venv.create(place, with_pip=True)
        python = Path(place) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", artefact.resolve()], check=True)
        subprocess.run([python, "-c", SMOKE, *LANGUAGES], check=True, cwd=place)


def main(folder: Path, *, both: bool = False) -> None:
    """Check the wheel's and the sdist's content, then install and use them."""
    wheel, sdist = only(folder, "*.whl"), only(folder, "*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    check_names(wheel, names, tuple(str(PACKAGE / name) for name in PROMISED))
    ours = (str(PACKAGE), "pytest_import_progress.py")
    if strangers := {name.split("/")[0] for name in names if not name.startswith(ours)}:
        fail(f"{wheel.name} would install {', '.join(strangers)}")
    if found := differences(tracked_files(), files_of(sdist)):
        fail(f"{sdist.name} {', '.join(found)}: see MANIFEST.in")
    for artefact in [wheel, sdist] if both else [wheel]:
        try_out(artefact)
    print(f"{wheel.name} and {sdist.name} are complete, and work when installed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), both="--both" in sys.argv)
