"""One import of the example's file, in a process of its own: prints how many seconds it took."""

from __future__ import annotations

import sys
import time

import django
from django.core.files.base import ContentFile
from django.core.management import call_command

django.setup()

from airports.importer import SAMPLE, run_import  # noqa: E402 - models need the settings
from airports.models import Airport, Import  # noqa: E402


def main() -> None:
    """Import into empty tables; "begins" is said before, and what it took afterwards."""
    call_command("migrate", verbosity=0)
    import_ = Import()
    import_.file.save("airports.csv", ContentFile(SAMPLE.read_bytes()))
    print("begins", flush=True)
    sys.stdin.readline()  # So that whoever has started us can see to Redis.
    began = time.perf_counter()
    run_import(import_)
    print(time.perf_counter() - began, Airport.objects.count(), flush=True)


if __name__ == "__main__":
    main()
