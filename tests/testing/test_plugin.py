"""The pytest plugin: available without configuration, and free for those who do not use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

USES = """
def test_it(import_progress):
    from django_import_progress import track_import
    with track_import("job"):
        pass
    assert import_progress["job"].status == "done"
"""
IGNORES = """
import sys

def test_it():
    assert "django_import_progress" not in sys.modules
    assert "fakeredis" not in sys.modules
"""
CONFIGURES = """
from django.conf import settings
settings.configure(USE_TZ=True)
"""


def _run(folder: Path, test: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(CONFIGURES + test)
    options = ("-p", "no:django", "-p", "no:asyncio", *options)
    command = [sys.executable, "-m", "pytest", "-W", "error::ResourceWarning", "-q", *options]
    return subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)


def test_the_fixture_needs_no_configuration(tmp_path: Path) -> None:
    done = _run(tmp_path, USES)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_the_plugin_can_be_switched_off(tmp_path: Path) -> None:
    done = _run(tmp_path, USES, "-p", "no:import_progress")
    assert "fixture 'import_progress' not found" in done.stdout


def test_a_project_that_does_not_use_it_pays_nothing(tmp_path: Path) -> None:
    done = _run(tmp_path, IGNORES)
    assert done.returncode == 0, done.stdout
