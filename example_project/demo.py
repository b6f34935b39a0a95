"""`make demo`: start everything the example needs, import the sample, and run until Ctrl-C.

Environment:
    PORT: the port of the site; default 8000.
    ONCE: 1 to exit after the import; the exit code is 0 if it succeeded.
    REDIS_URL: a running Redis or Valkey; by default the demo starts one.
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
    DemoError,
    Interrupted,
    Service,
    Supervisor,
    check_port,
    site_responds,
)
from demo_terminal import Bar
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files import File
from django.core.management import call_command
from redis.exceptions import RedisError

from django_import_progress import (
    ProgressUnavailable,
    embedded_url,
    get_sync_progress_manager,
)

PROJECT = Path(__file__).resolve().parent
READY_SECONDS = 60
STAFF = "demo-staff"


def main() -> int:
    """Run the demo; return its exit code."""
    supervisor = Supervisor()
    # Everything that is started registers its end here, and ends in reverse order.
    with ExitStack() as stack:
        try:
            return run(supervisor, stack)
        except Interrupted:
            print("\nInterrupted.")
            return 130
        except DemoError as error:
            print(f"\n{error}", file=sys.stderr)
            return 1


def run(supervisor: Supervisor, stack: ExitStack) -> int:
    """Start everything, import, and wait for Ctrl-C."""
    port = check_port(os.environ.get("PORT") or "8000")
    if not os.environ.get("REDIS_URL"):
        # For the settings, and for the processes that are started below.
        os.environ["REDIS_URL"] = embedded_redis()
    prepare_site()
    start_processes(supervisor, stack, port)

    import_ = queue_sample()
    url = f"http://localhost:{port}{import_.get_absolute_url()}"
    print(f"Importing {import_.filename}; watch it live at {url}\n", flush=True)
    final = draw(supervisor, str(import_.pk))
    succeeded = final.get("status") == "done" and has_all_rows(final)
    if os.environ.get("ONCE") == "1":
        return 0 if succeeded else 1

    print(f"\nAll imports, for staff: http://localhost:{port}/imports/now/")
    print(f"Log in as {STAFF} with the password {new_password()}")
    print(f"\nThe site stays up at http://localhost:{port}/ - press Ctrl-C to stop.", flush=True)
    try:
        supervisor.wait_for(lambda: False, "Ctrl-C")
    except Interrupted:
        print("\nStopping.", flush=True)
    return 0


def embedded_redis() -> str:
    """Start the embedded Valkey; return its URL. It stops a minute after the demo."""
    try:
        return embedded_url(Path(os.environ.get("EXAMPLE_VAR") or PROJECT / "var") / "valkey")
    except (ValueError, RedisError) as error:
        raise DemoError(
            f"{error}\nStart a Redis or Valkey yourself and pass its URL:"
            " make demo REDIS_URL=redis://localhost:6379/0"
        ) from None


def prepare_site() -> None:
    """Set up Django in this process, and migrate the database."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "example.settings"
    django.setup()
    check_redis()
    call_command("migrate", verbosity=0)


def check_redis() -> None:
    """Raise `DemoError` if Redis cannot be used."""
    try:
        get_sync_progress_manager().jobs(limit=1)
    except (ImproperlyConfigured, ProgressUnavailable) as error:
        raise DemoError(f"{error}\nWithout REDIS_URL, the demo starts a Valkey itself.") from None


def start_processes(supervisor: Supervisor, stack: ExitStack, port: int) -> None:
    """Start the worker, the web server and the relay, and wait until they are ready."""
    # Imported here: these modules need the settings.
    from example.celery import app  # noqa: PLC0415

    python, logs = sys.executable, settings.VAR_DIR
    node = f"demo-{os.getpid()}@localhost"
    worker = Service(
        "worker",
        *[python, "-m", "celery", "-A", "example", "worker", "--hostname", node],
        *["--pool", "prefork", "--concurrency", "1", "--loglevel", "INFO"],
        # Both are for several workers that communicate with each other.
        *["--without-gossip", "--without-mingle"],
        cwd=PROJECT,
        log=logs / "worker.log",
    )
    web = Service(
        "web server",
        *[python, "-m", "uvicorn", "example.asgi:application", "--port", str(port)],
        # An open stream is a request that does not end by itself: without this, Ctrl-C would
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
    supervisor.wait_for(lambda: site_responds(port), "the web server", READY_SECONDS)
    supervisor.wait_for(lambda: relay.has_logged("Relaying"), "the relay", READY_SECONDS)


def queue_sample() -> Any:
    """Queue an import of the sample, as the site does."""
    from airports.importer import SAMPLE  # noqa: PLC0415
    from airports.models import Import  # noqa: PLC0415
    from airports.tasks import queue_import  # noqa: PLC0415

    import_ = Import()
    with SAMPLE.open("rb") as file:
        import_.file.save(SAMPLE.name, File(file))
    queue_import(import_)
    return import_


def new_password() -> str:
    """Set a new password for the demo's staff user, valid until the demo runs again."""
    from django.contrib.auth.models import User  # noqa: PLC0415

    user, _ = User.objects.get_or_create(username=STAFF, defaults={"is_staff": True})
    password = secrets.token_urlsafe(9)
    user.set_password(password)
    user.save()
    return password


def draw(supervisor: Supervisor, job_id: str) -> dict[str, Any]:
    """Draw the progress until the import ends; return the last snapshot."""
    snapshot: dict[str, Any] = {}
    with Bar() as bar:
        for snapshot in snapshots(supervisor, job_id):
            bar.draw(snapshot)
    return snapshot


def snapshots(supervisor: Supervisor, job_id: str) -> Iterator[dict[str, Any]]:
    """Yield each snapshot of the job; raise if a process dies meanwhile."""
    received: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def watch() -> None:
        # `watch` waits through any outage. It runs in a thread because the main thread checks the
        # processes; in your own code, a plain `for snapshot in manager.watch(...)` is enough.
        for snapshot in get_sync_progress_manager().watch(job_id):
            received.put(snapshot)
        received.put(None)

    threading.Thread(target=watch, daemon=True).start()
    while True:
        supervisor.wait_for(lambda: not received.empty(), "the worker")
        if (snapshot := received.get()) is None:
            return
        yield snapshot


def has_all_rows(snapshot: dict[str, Any]) -> bool:
    """Return whether the database has all imported airports."""
    from airports.models import Airport  # noqa: PLC0415

    imported = snapshot["created"] + snapshot["updated"]
    count = Airport.objects.count()
    print(f"The database has {count:,} airports.", flush=True)
    return count >= imported > 0


if __name__ == "__main__":
    sys.exit(main())
