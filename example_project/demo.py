"""`make demo`: starts all that the example needs, imports the sample, and stays up until Ctrl-C.

Environment:
    PORT: where the site listens; 8000 where not given.
    ONCE: 1 to end after the import; the exit code is 0 where it went well.
    REDIS_URL: a Redis or Valkey that runs already; where not given, one is started.
    EXAMPLE_VAR: the directory for the database, uploads and logs.
"""

# ruff: noqa: INP001, T201

from __future__ import annotations

import os
import queue
import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import django
from demo_services import (
    Interrupted,
    Service,
    Supervisor,
    Trouble,
    check_port,
    embedded_valkey,
    site_answers,
)
from demo_terminal import Bar
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files import File
from django.core.management import call_command

from django_import_progress import ProgressUnavailable, get_sync_progress_manager

PROJECT = Path(__file__).resolve().parent
READY_SECONDS = 60
STAFF = "demo-staff"


def main() -> int:
    """Run the demo; its exit code."""
    supervisor = Supervisor()
    # Whatever is started registers its end here; they end in reverse order, whatever happens.
    with ExitStack() as stack:
        try:
            return run(supervisor, stack)
        except Interrupted:
            print("\nInterrupted.")
            return 130
        except Trouble as error:
            print(f"\n{error}", file=sys.stderr)
            return 1


def run(supervisor: Supervisor, stack: ExitStack) -> int:
    """Start everything, import, and wait for Ctrl-C."""
    port = check_port(os.environ.get("PORT") or "8000")
    if not os.environ.get("REDIS_URL"):
        # For the settings, and for the processes that are started below.
        os.environ["REDIS_URL"] = stack.enter_context(embedded_valkey())
    prepare_site()
    start_processes(supervisor, stack, port)

    import_ = queue_sample()
    url = f"http://localhost:{port}{import_.get_absolute_url()}"
    print(f"Importing {import_.filename}; watch it live at {url}\n", flush=True)
    ended = draw(supervisor, str(import_.pk))
    went_well = ended.get("status") == "done" and rows_are_there(ended)
    if os.environ.get("ONCE") == "1":
        return 0 if went_well else 1

    print(f"\nAll imports, for staff: http://localhost:{port}/imports/now/")
    print(f"Log in as {STAFF} with the password {new_password()}")
    print(f"\nThe site stays up at http://localhost:{port}/ - press Ctrl-C to end.", flush=True)
    try:
        supervisor.wait_for(lambda: False, "Ctrl-C")
    except Interrupted:
        print("\nEnding.", flush=True)
    return 0


def prepare_site() -> None:
    """Bring Django up in this process, and the database up to date."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "example.settings"
    django.setup()
    check_redis()
    call_command("migrate", verbosity=0)


def check_redis() -> None:
    """Raise `Trouble` where REDIS_URL leads nowhere."""
    try:
        get_sync_progress_manager().jobs(limit=1)
    except (ImproperlyConfigured, ProgressUnavailable) as error:
        raise Trouble(f"{error}\nWithout REDIS_URL the demo starts a Valkey by itself.") from None


def start_processes(supervisor: Supervisor, stack: ExitStack, port: int) -> None:
    """Start the worker, the web server and the relay, and wait until all do their work."""
    # Only now: these modules need the settings.
    from example.celery import app  # noqa: PLC0415

    python, logs = sys.executable, settings.VAR_DIR
    node = f"demo-{os.getpid()}@localhost"
    worker = Service(
        "worker",
        *[python, "-m", "celery", "-A", "example", "worker", "--hostname", node],
        *["--pool", "prefork", "--concurrency", "1", "--loglevel", "INFO"],
        # They are for several workers that talk with each other.
        *["--without-gossip", "--without-mingle"],
        cwd=PROJECT,
        log=logs / "worker.log",
    )
    web = Service(
        "web server",
        *[python, "-m", "uvicorn", "example.asgi:application", "--port", str(port)],
        # An open stream is a request that doesn't end by itself: without this, Ctrl-C would
        # wait for every page that is open in a browser.
        *["--timeout-graceful-shutdown", "1"],
        *["--lifespan", "off"],
        cwd=PROJECT,
        log=logs / "web.log",
    )
    relay = Service(
        "relay",
        *[python, "manage.py", "import_progress", "relay"],
        cwd=PROJECT,
        log=logs / "relay.log",
    )
    for service in (worker, relay, web):
        supervisor.services.append(stack.enter_context(service))
        print(f"Starting the {service.name}; its log is {service.log}", flush=True)
    supervisor.wait_for(
        lambda: app.control.ping(destination=[node], timeout=0.5), "the worker", READY_SECONDS
    )
    supervisor.wait_for(lambda: site_answers(port), "the web server", READY_SECONDS)
    supervisor.wait_for(lambda: relay.has_said("Relaying"), "the relay", READY_SECONDS)


def queue_sample() -> Any:
    """Do what the site does when somebody asks for the sample."""
    from airports.importer import SAMPLE  # noqa: PLC0415
    from airports.models import Import  # noqa: PLC0415
    from airports.tasks import queue_import  # noqa: PLC0415

    import_ = Import()
    with SAMPLE.open("rb") as file:
        import_.file.save(SAMPLE.name, File(file))
    queue_import(import_)
    return import_


def new_password() -> str:
    """Give the demo's member of staff a new password, good until the demo runs again."""
    from django.contrib.auth.models import User  # noqa: PLC0415

    user, _ = User.objects.get_or_create(username=STAFF, defaults={"is_staff": True})
    password = secrets.token_urlsafe(9)
    user.set_password(password)
    user.save()
    return password


def draw(supervisor: Supervisor, job_id: str) -> dict[str, Any]:
    """Draw the progress until the import ends; the last snapshot."""
    snapshot: dict[str, Any] = {}
    with Bar() as bar:
        for snapshot in snapshots(supervisor, job_id):
            bar.draw(snapshot)
    return snapshot


def snapshots(supervisor: Supervisor, job_id: str) -> Iterator[dict[str, Any]]:
    """Yield each snapshot of the job, and notice meanwhile when a process dies."""
    heard: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def listen() -> None:
        # `watch` waits through any outage. Beside the main thread, that may go on to look after
        # the processes; in a loop of your own, plain `for snapshot in manager.watch(...)` will do.
        for snapshot in get_sync_progress_manager().watch(job_id):
            heard.put(snapshot)
        heard.put(None)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        supervisor.wait_for(lambda: not heard.empty(), "the worker")
        if (snapshot := heard.get()) is None:
            return
        yield snapshot


def rows_are_there(snapshot: dict[str, Any]) -> bool:
    """Say whether the database has as many airports as were imported."""
    from airports.models import Airport  # noqa: PLC0415

    imported = snapshot["created"] + snapshot["updated"]
    count = Airport.objects.count()
    print(f"The database has {count:,} airports.", flush=True)
    return count >= imported > 0


if __name__ == "__main__":
    sys.exit(main())
