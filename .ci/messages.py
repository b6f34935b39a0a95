"""Bring the catalogues up to the texts of the sources, compile them, and say what is missing.

Needs GNU gettext. Ends with 1 while anything is missing or fuzzy. For another language, make its
folder first: django_import_progress/locale/CODE/LC_MESSAGES.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command

PACKAGE = Path(__file__).resolve().parents[1] / "django_import_progress"
NOISE = (
    *("# SOME DESCRIPTIVE", "# Copyright (C) YEAR", "# This file is dist", "# FIRST AUTHOR", "#\n"),
    *('"POT-Creation-Date:', '"PO-Revision-Date:', '"Last-Translator:', '"Language-Team:'),
    '"Report-Msgid-Bugs-To:',
)
"""How lines begin that would differ each time, or say nothing."""


def pick(catalogue: Path, *which: str) -> str:
    """Return the messages of a catalogue that `msgattrib` picks."""
    command = ["msgattrib", *which, "--no-wrap", "--force-po", catalogue]
    text = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    return text.partition("\n\n")[2].strip()  # Without the catalogue's own header.


def tidied(text: str, locale: str) -> str:
    """Return a catalogue with a header that says what it is of, though it be new."""
    lines = text.splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith(NOISE))
    text = text.removeprefix("#, fuzzy\n").replace("PACKAGE VERSION", "django-import-progress", 1)
    return text.replace('"Language: \\n"', f'"Language: {locale}\\n"', 1)


def main() -> int:
    """Write and compile every catalogue; return how many of them are not complete."""
    if not shutil.which("msgattrib"):
        sys.exit("GNU gettext is needed. On Debian and Ubuntu: sudo apt-get install gettext")
    os.chdir(PACKAGE)
    settings.configure()
    django.setup()
    locales = sorted(folder.name for folder in Path("locale").iterdir())
    call_command("makemessages", locale=locales, add_location="never", no_obsolete=True)
    incomplete = 0
    for locale in locales:
        catalogue = Path("locale") / locale / "LC_MESSAGES" / "django.po"
        catalogue.write_text(tidied(catalogue.read_text(encoding="utf-8"), locale), "utf-8")
        left = {"missing": pick(catalogue, "--untranslated"), "fuzzy": pick(catalogue, "--fuzzy")}
        for what, messages in left.items():
            if messages:
                print(f"\n{catalogue}: {what}\n\n{messages}")
        incomplete += any(left.values())
    call_command("compilemessages", locale=locales, verbosity=0)
    print(f"{len(locales) - incomplete} of {len(locales)} catalogues are complete")
    return min(incomplete, 1)


if __name__ == "__main__":
    sys.exit(main())
