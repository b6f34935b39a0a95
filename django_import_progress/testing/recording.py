"""`record_imports`: runs a test's imports in memory, and records what they write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..conf import settings
from ..core.keys import JobId, clean_job_id
from ..core.lua.scripts import PUBLISH_CURRENT
from ..core.snapshot import as_text, loads
from ..service.registry import replace_server
from ..service.sync_manager import SyncProgressManager
from .memory import MemoryServer

_HASH, _CHANNEL = ":hash:", ":channel:"


class RecordedImport:
    """What was written about one job.

    Attributes:
        job_id: the job's id.
        namespace: the job's namespace.
        snapshots: each snapshot that was stored or published, in their order, as dicts. A field
            may have the same value in several of them.
    """

    def __init__(self, server: MemoryServer, namespace: str, job_id: str) -> None:
        self.job_id = job_id
        self.namespace = namespace
        self.snapshots: list[dict[str, Any]] = []
        self._server = server
        self._version: object = None
        """Life and version of the newest snapshot that was stored."""

    def __repr__(self) -> str:
        return f"<RecordedImport {self.job_id}: {self.status}, {len(self.snapshots)} snapshots>"

    @property
    def fields(self) -> dict[str, Any]:
        """The newest snapshot; empty before the first."""
        self._server.write_now()
        return dict(self.snapshots[-1]) if self.snapshots else {}

    @property
    def status(self) -> str | None:
        """The newest status; None if the job has none."""
        return self.fields.get("status")

    @property
    def rejected(self) -> list[dict[str, Any]]:
        """The rejected rows, each as `rejects()` yields it."""
        client = self._server.create_sync_client(0, 0)
        return list(SyncProgressManager(client, self.namespace).rejects(self.job_id))

    def note_stored(self) -> None:
        """Record the stored snapshot, if it is a new one."""
        found: dict[bytes, bytes] = self._server.raw.hgetall(  # type: ignore[assignment]
            f"{self.namespace}{_HASH}{self.job_id}"
        )
        version = found.get(b"_l"), found.get(b"_v")
        if found and version != self._version:
            self._version = version
            texts = {as_text(name): as_text(value) for name, value in found.items()}
            self.snapshots.append({n: loads(text) for n, text in texts.items() if n[0] != "_"})

    def note_published(self, message: dict[str, Any]) -> None:
        """Record a message without a stored snapshot, as watchers see it."""
        fields = {name: value for name, value in message.items() if not name.startswith("_")}
        last = self.snapshots[-1] if self.snapshots else {}
        self.snapshots.append({**last, **fields})


class RecordedImports:
    """The jobs of a `record_imports` block: `recorded["job"]`, by id.

    If several namespaces have a job of this id, use `recorded["namespace", "job"]`. Without an
    explicit namespace, that of the settings is preferred.
    """

    def __init__(self) -> None:
        self.server = MemoryServer(self._note_command)
        self._jobs: dict[tuple[str, str], RecordedImport] = {}

    def __repr__(self) -> str:
        return f"<RecordedImports: {', '.join(sorted(self)) or 'none'}>"

    def __iter__(self) -> Iterator[str]:
        """Yield the ids of the jobs, in the order in which they were first written."""
        return iter(dict.fromkeys(job_id for _, job_id in self._jobs))

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job_id: object) -> bool:
        return str(job_id) in list(self)

    def __getitem__(self, job: JobId | tuple[str, JobId]) -> RecordedImport:
        """Return what was written about a job.

        Raises:
            KeyError: nothing was; the message names the known ids.
            InvalidJobId: the id is invalid.
        """
        self.server.write_now()
        namespace, job_id = job if isinstance(job, tuple) else (None, job)
        job_id = clean_job_id(job_id)
        found = {space: r for (space, name), r in self._jobs.items() if name == job_id}
        if namespace is None and len(found) > 1:
            namespace = settings.namespace
        if namespace is not None:
            found = {space: r for space, r in found.items() if space == namespace}
        if not found:
            place = "" if namespace is None else f" in the namespace {namespace!r}"
            known = ", ".join(f"{space}: {name}" for space, name in self._jobs) or "none"
            raise KeyError(f"No import {job_id!r} was recorded{place}; recorded are: {known}")
        [record] = found.values()
        return record

    def _note_command(self, command: tuple[Any, ...]) -> None:
        name, *args = map(_text, command)
        key = args[2] if name in {"EVALSHA", "EVAL"} and len(args) > 2 else ""
        if key and _is_of_publish(args[0]):
            self._note_message(args[3], f"{args[4]}[0,0]{args[5]}")
        elif _HASH in key and self.server.raw.type(key) == b"hash":
            self._record(*key.split(_HASH, 1)).note_stored()
        elif name == "PUBLISH" and _CHANNEL in args[0]:
            self._note_message(args[0], args[1])

    def _note_message(self, channel: str, text: str) -> None:
        try:
            message = loads(text)
        except ValueError:
            message = None
        if isinstance(message, dict):  # Watchers ignore all other messages as well.
            self._record(*channel.split(_CHANNEL, 1)).note_published(message)

    def _record(self, namespace: str, job_id: str) -> RecordedImport:
        key = (namespace, job_id)
        if key not in self._jobs:
            self._jobs[key] = RecordedImport(self.server, namespace, job_id)
        return self._jobs[key]


def _text(part: object) -> str:
    return part.decode(errors="replace") if isinstance(part, bytes) else str(part)


def _is_of_publish(script: str) -> bool:
    return script in {PUBLISH_CURRENT.sha, PUBLISH_CURRENT.text}


@contextmanager
def record_imports() -> Iterator[RecordedImports]:
    """Run the imports of a `with` block in memory, without Redis and threads, and record them.

    ::

        with record_imports() as recorded:
            import_products("products.csv", job_id="job")
        assert recorded["job"].status == "done"

    Everything that uses the managers of the settings does so: `track_import`, tags, views,
    consumers, commands and `ImportTask`. Inside a `TestCase`, ``done`` is written at the end of the
    import's own outermost `atomic` block. An import that still runs when the block ends continues
    in memory. Blocks may be nested: the innermost records.

    Yields:
        The recorded jobs. They can be read after the block as well.

    Raises:
        ImportError: the extra `testing` is not installed.
    """
    recorded = RecordedImports()
    with replace_server(recorded.server):
        yield recorded
