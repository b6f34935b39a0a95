"""`python -m benchmarks [name ...]`: run some benchmarks, or all."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

import django

NAMES = ("rows", "update", "stored", "streams", "growth", "outage", "frozen", "million")
"""One module each, which has a `run` that returns a `Report`."""
ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print each table as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(NAMES)}")
    names = parser.parse_args().names or NAMES
    if unknown := sorted(set(names) - set(NAMES)):
        parser.error(f"there is no {', '.join(unknown)}; choose from {', '.join(NAMES)}")
    sys.path[:0] = [str(ROOT), str(ROOT / "example_project")]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
    django.setup()
    for name in names:
        report = import_module(f"benchmarks.{name}").run()
        print(report)
        print(f"written to {report.save().relative_to(ROOT)}\n", flush=True)


if __name__ == "__main__":
    main()
