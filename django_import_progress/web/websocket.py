"""An open WebSocket: receives the client's commands, and sends it the states of jobs."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal, cast, get_args

from ..access.permissions import Permission, admit
from ..access.tickets import Grant, job_id_in
from ..access.visitors import Visitor
from ..cancellation import end_tasks
from ..conf import settings
from ..core.errors import ProgressUnavailable
from ..core.messages import HAS_ENDED, NO_SUCH_JOB, UNAVAILABLE, error_message
from ..core.pacing import TokenBucket
from ..core.snapshot import loads
from ..release import borrowed_thread
from ..service.manager import ProgressManager
from ..watch.hub import Watcher
from .cancel import cancel
from .limits import MAX_JOBS, turns

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]

# Close codes: RFC 6455, section 7.4.1, and the registry that it defines.
NORMAL, GOING_AWAY, POLICY_VIOLATION, TOO_BIG, TRY_AGAIN = 1000, 1001, 1008, 1009, 1013

MAX_MESSAGE_BYTES = 64 * 1024
MESSAGES_AT_ONCE = 200
MESSAGES_PER_SECOND = 100
"""Our own client stays far below these limits."""

CommandAction = Literal["watch", "unwatch", "cancel"]


class BadCommand(ValueError):
    """A message that is no valid command. Its text explains to the client what a command is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """A client's command."""

    action: CommandAction
    job: str
    """A job id or a ticket; may be any text."""


def parse_command(text: str) -> Command:
    """Parse a message.

    Raises:
        BadCommand: it is no valid command.
    """
    try:
        message = loads(text)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise BadCommand('Send JSON: {"action": "watch", "job": "<id or ticket>"}.')
    action, job = message.get("action"), message.get("job")
    if action not in get_args(CommandAction):
        raise BadCommand(f"The action must be one of {', '.join(get_args(CommandAction))}.")
    if not isinstance(job, str):
        raise BadCommand("The job must be an id or a ticket.")
    return Command(cast(CommandAction, action), job)


class Socket:
    """A WebSocket that was accepted.

    Args:
        receive: returns the client's next message.
        send: sends a message.
        manager: the manager of the jobs' namespace.
        visitor: the client.
        permission: grants for the watched jobs; this class keeps them up to date.
        only: the only job, watched until its end; None: the client sends commands, and the socket
            stays open.
    """

    def __init__(
        self,
        receive: Receive,
        send: Send,
        *,
        manager: ProgressManager,
        visitor: Visitor,
        permission: Permission,
        only: Grant | None,
    ) -> None:
        self._receive = receive
        self._send = send
        self._manager = manager
        self._visitor = visitor
        self._permission = permission
        self._only = only
        self._watchers: dict[str, Watcher] = {}
        self._has_update = asyncio.Event()
        self._turn = turns.of(visitor.client)
        self._allowance = TokenBucket(MESSAGES_AT_ONCE, MESSAGES_PER_SECOND)
        self._now = asyncio.get_running_loop().time

    async def run(self) -> None:
        """Serve the socket until either side closes it."""
        if self._only is not None:
            self._watch(self._only)
        tasks = [
            asyncio.create_task(self._receive_commands()),
            asyncio.create_task(self._send_updates()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Also if the server cancels this task: there is no later call.
            self.close()
            await end_tasks(tasks)
        # OSError: the client has disconnected. TimeoutError: it reads nothing.
        with suppress(OSError, TimeoutError):
            if code := max(task.result() for task in done):
                async with asyncio.timeout(settings.heartbeat_seconds):
                    await self._send({"type": "websocket.close", "code": code})

    def close(self) -> None:
        """Stop watching all jobs."""
        for job_id in tuple(self._watchers):
            self._stop_watching(job_id)

    async def _receive_commands(self) -> int:
        """Execute commands until the client disconnects (0) or breaks a limit (the close code)."""
        while (message := await self._receive())["type"] == "websocket.receive":
            if not self._allowance.take(self._now()):
                return POLICY_VIOLATION
            text, data = message.get("text") or "", message.get("bytes") or b""
            # Check the length before encoding: some servers pass on 16 MiB and more.
            is_large = max(len(text), len(data)) > MAX_MESSAGE_BYTES
            if is_large or len(text.encode("utf-8", "replace")) > MAX_MESSAGE_BYTES:
                return TOO_BIG
            if self._only is None:
                await self._handle(text)
        return 0

    async def _handle(self, text: str) -> None:
        try:
            command = parse_command(text)
        except BadCommand as error:
            await self._send_text(error_message(str(error)))
            return
        try:
            async with self._turn, borrowed_thread():
                reply = await self._execute(command)
        except ProgressUnavailable:
            reply = error_message(UNAVAILABLE, command.job)
        if reply is not None:
            await self._send_text(reply)

    async def _execute(self, command: Command) -> str | None:
        """Execute a command; return the immediate reply, if any.

        Raises:
            ProgressUnavailable: the job was given as a bare id, and Redis is unavailable.
        """
        execute = {
            "watch": self._watch_command,
            "unwatch": self._unwatch_command,
            "cancel": self._cancel_command,
        }
        return await execute[command.action](command.job)

    async def _watch_command(self, reference: str) -> str | None:
        user = await self._user_now()
        grant = await admit(reference, "watch", user=user, manager=self._manager)
        if grant is None:
            return error_message(NO_SUCH_JOB, reference)
        if len(self._watchers) >= MAX_JOBS and grant.job_id not in self._watchers:
            return error_message(f"{MAX_JOBS} jobs are watched; unwatch one first.", reference)
        self._permission.add(grant)
        self._watch(grant)
        return None

    async def _unwatch_command(self, reference: str) -> None:
        self._stop_watching(job_id_in(reference))

    async def _cancel_command(self, reference: str) -> str | None:
        user, watcher = await self._user_now(), self._watchers.get(job_id_in(reference))
        state, is_requested = await cancel(reference, user=user, manager=self._manager)
        if state is None:
            return error_message(NO_SUCH_JOB, reference)
        if not is_requested:
            return error_message(HAS_ENDED, reference)
        if watcher is None:
            return state.message
        # The job is watched here, so its watcher sends the state: states must stay in order.
        if self._watchers.get(state.job_id) is watcher:
            watcher.repeat()
        return None

    async def _user_now(self) -> Any:
        # The handshake may be an hour old.
        return await self._visitor.user_now()

    def _watch(self, grant: Grant) -> None:
        """Watch a job from its current state; if it is already watched, start again."""
        job_id = grant.job_id
        if job_id in self._watchers:
            self._watchers.pop(job_id).close()
        watcher = self._manager.watcher(
            job_id, max_per_second=settings.max_updates_per_second, may_see=grant.may_see
        )
        watcher.on_update = self._has_update.set
        self._watchers[job_id] = watcher
        self._has_update.set()  # The job's state may be known already.

    def _stop_watching(self, job_id: str) -> None:
        watcher = self._watchers.pop(job_id, None)
        if watcher is not None:
            watcher.close()
            self._permission.discard(job_id)

    async def _send_updates(self) -> int:
        """Send states until the socket has to be closed; return the close code."""
        deadline = self._now() + settings.stream_seconds
        while self._now() < deadline:
            check_at = min(self._now() + settings.heartbeat_seconds, deadline)
            while self._now() < check_at:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(check_at):
                        await self._has_update.wait()
                self._has_update.clear()
                if (code := await self._poll_watchers()) is not None:
                    return code
            for job_id in await self._permission.lost():
                if self._only is not None:
                    return POLICY_VIOLATION
                self._stop_watching(job_id)
                await self._send_text(error_message(NO_SUCH_JOB, job_id))
        return GOING_AWAY

    async def _poll_watchers(self) -> int | None:
        """Send the new state of each job; return the close code, if any."""
        for job_id, watcher in tuple(self._watchers.items()):
            # The client may have unwatched the job while another one's state was sent.
            is_watching = self._watchers.get(job_id) is watcher
            if is_watching and watcher.closed:  # By the hub.
                return GOING_AWAY
            # Poll only after the last message was sent, so a slow client gets the latest state.
            state = watcher.poll() if is_watching else None
            if state is not None:
                await self._send_text(state.message)
                if state.ended:
                    self._stop_watching(job_id)
                    if self._only is not None:
                        return NORMAL
        return None

    async def _send_text(self, text: str) -> None:
        """Send a message.

        Raises:
            TimeoutError: the client has read nothing for a heartbeat, and all buffers are full.
        """
        async with asyncio.timeout(settings.heartbeat_seconds):
            await self._send({"type": "websocket.send", "text": text})
