"""Redis in the memory of this process, for tests: fakeredis runs the package's own Lua scripts."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

try:
    import lupa  # noqa: F401 - without it fakeredis does not run Lua scripts.
    from fakeredis import FakeRedis, FakeServer
    from fakeredis.aioredis import FakeRedis as FakeAsyncRedis
except ImportError as error:
    raise ImportError(
        "django_import_progress.testing needs fakeredis and lupa:"
        " pip install 'django-import-progress[testing]'"
    ) from error

from ..redis.executor import AsyncClient, SyncClient

T = TypeVar("T")

COMPLETE_LUA = r"""
-- What Redis has and fakeredis lacks; tables of its Lua interpreter last as long as the server.
redis.acl_check_cmd = function() return true end
redis.sha1hex = function(text) return text end  -- Digests are only compared with each other.
local decode = cjson.decode
cjson.decode = function(text)
  local is_decoded, value = pcall(decode, text)
  if is_decoded then return value end
  return decode((string.gsub(text, string.rep('%d', 16) .. '+', '1')))  -- Integers beyond 64 bits.
end
-- fakeredis writes only ASCII: a name or an error message would have another size.
local encode = cjson.encode
local short = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'}
for _, character in ipairs({'"', '\\', '/'}) do short[character] = character end
local function escaped(character)
  local letter = short[character]
  return letter and '\\' .. letter or string.format('\\u%04x', string.byte(character))
end
cjson.encode = function(value)
  if type(value) ~= 'string' then return encode(value) end
  return '"' .. string.gsub(value, '[%z\1-\31"\\/\127]', escaped) .. '"'
end
"""

_numbers = itertools.count(1)


class InlineWriter(Protocol):
    """A writer without a thread: see `tracker.writer.Writer`."""

    def write_now(self) -> bool:
        """Write what has changed; return whether more may follow."""


class MemoryServer:
    """A Redis server in memory, and its clients.

    Only one command runs at a time. Before each, the running imports write what they have counted,
    so that every reader sees it; after each, they check whether they were cancelled. So tests need
    no thread, and no waiting.

    Args:
        on_command: called with each command after it was executed.
    """

    def __init__(self, on_command: Callable[[tuple[Any, ...]], None]) -> None:
        self.url = f"memory://{next(_numbers)}"
        self._server = FakeServer()
        self._on_command = on_command
        self._lock = threading.RLock()  # Reentrant: a writer's own commands run inside another.
        self._writers: list[InlineWriter] = []
        self._is_busy = False
        """Whether an import is writing."""
        self.raw = FakeRedis(server=self._server)
        """A client whose commands are not noticed."""
        self.raw.eval(COMPLETE_LUA, 0)

    def create_client(self) -> AsyncClient:
        """Return a client for the running event loop."""
        return _AsyncMemoryClient(self, self._server)

    def create_sync_client(self, timeout_seconds: float, retries: int) -> SyncClient:
        """Return a client for any thread. It needs neither time-outs nor retries."""
        return _MemoryClient(self, self._server)

    def add_writer(self, writer: InlineWriter) -> None:
        """Add the writer of an import that has started."""
        with self._lock:
            self._writers.append(writer)

    def run(self, command: tuple[Any, ...], execute: Callable[[], T]) -> T:
        """Execute a command of a client."""
        with self._lock:
            self.write_now()
            result = execute()
            self._on_command(command)
            self.write_now()
            return result

    def exclusively(self, write: Callable[[], object]) -> None:
        """Call a function that writes for an import; other imports write before and after."""
        with self._lock:
            self._call_busy(write)
            self.write_now()

    def write_now(self) -> None:
        """Write what the running imports have counted; end those that were abandoned."""
        with self._lock:
            if not self._is_busy:  # Otherwise this is a command of an import itself.
                self._call_busy(self._write)

    def _call_busy(self, function: Callable[[], object]) -> None:
        was_busy, self._is_busy = self._is_busy, True
        try:
            function()
        finally:
            self._is_busy = was_busy

    def _write(self) -> None:
        self._writers = [writer for writer in self._writers if writer.write_now()]


class _MemoryClient(FakeRedis):  # type: ignore[misc, unused-ignore]
    """A sync client; writers find in `inline` how to do without a thread."""

    def __init__(self, memory: MemoryServer, server: FakeServer) -> None:
        super().__init__(server=server)
        self.inline = memory

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Execute a command."""
        execute: Any = super().execute_command
        return self.inline.run(args, lambda: execute(*args, **options))

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        """Return a pipeline, which reads: the imports write before."""
        self.inline.write_now()
        return super().pipeline(transaction, shard_hint)


class _AsyncMemoryClient(FakeAsyncRedis):  # type: ignore[misc, unused-ignore]
    """An async client whose commands run at once, so that others cannot get in between."""

    def __init__(self, memory: MemoryServer, server: FakeServer) -> None:
        super().__init__(server=server)
        self._memory = memory
        self._sync: Any = memory.create_sync_client(0, 0)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Execute a command."""
        return self._sync.execute_command(*args, **options)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        """Return a pipeline, which reads: the imports write before."""
        self._memory.write_now()
        return super().pipeline(transaction, shard_hint)
