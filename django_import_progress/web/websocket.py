"""One open WebSocket: the client is heard, and told the news, until either side is through."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from ..access.permissions import Permission, admit
from ..access.tickets import Grant, named_by
from ..access.visitors import Visitor
from ..cancellation import end_tasks
from ..conf import settings
from ..core.errors import ProgressUnavailable
from ..core.messages import HAS_ENDED, NO_SUCH_JOB, UNAVAILABLE, error_message
from ..core.pacing import TokenBucket
from ..release import borrowed_thread
from ..service.manager import ProgressManager
from ..watch.hub import Watcher
from .cancel import cancel
from .client_commands import MAX_MESSAGE_BYTES, BadCommand, Command, parse_command
from .limits import MAX_JOBS, turns

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]

# RFC 6455, section 7.4.1, and the registry that it makes.
NORMAL, GOING_AWAY, POLICY_VIOLATION, TOO_BIG, TRY_AGAIN = 1000, 1001, 1008, 1009, 1013

MESSAGES_AT_ONCE = 200
MESSAGES_PER_SECOND = 100
"""A client that says more is no client of ours."""


class Socket:
    """What is watched over one WebSocket that was accepted.

    Args:
        receive: gives the next of the client's messages.
        send: sends one.
        manager: of the namespace in question.
        visitor: who watches.
        permission: by what; kept up to date.
        only: the one job that is watched from the beginning to its end; None: the client says
            which, and the socket stays open.
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
        self._has_news = asyncio.Event()
        self._turn = turns.of(visitor.client)
        self._allowance = TokenBucket(MESSAGES_AT_ONCE, MESSAGES_PER_SECOND)
        self._now = asyncio.get_running_loop().time

    async def run(self) -> None:
        """Serve the socket until the client goes, or it is closed."""
        if self._only is not None:
            self._watch(self._only)
        sides = [asyncio.create_task(self._listen()), asyncio.create_task(self._tell())]
        try:
            done, _ = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Also where the server has cancelled us, to which nobody calls us back.
            self.close()
            await end_tasks(sides)
        # The client is gone: so servers say to who sends on. Or it has taken nothing for long.
        with suppress(OSError, TimeoutError):
            if code := max(side.result() for side in done):
                async with asyncio.timeout(settings.heartbeat_seconds):
                    await self._send({"type": "websocket.close", "code": code})

    def close(self) -> None:
        """Let go of what is watched."""
        for job_id in tuple(self._watchers):
            self._leave(job_id)

    async def _listen(self) -> int:
        """Do what the client says, until it is gone (0), or closed for it (the code)."""
        while (message := await self._receive())["type"] == "websocket.receive":
            if not self._allowance.take(self._now()):
                return POLICY_VIOLATION
            text, data = message.get("text") or "", message.get("bytes") or b""
            # Not encoded where its length alone says it: some servers let 16 MiB and more pass.
            is_large = max(len(text), len(data)) > MAX_MESSAGE_BYTES
            if is_large or len(text.encode("utf-8", "replace")) > MAX_MESSAGE_BYTES:
                return TOO_BIG
            if self._only is None:
                await self._answer(text)
        return 0

    async def _answer(self, text: str) -> None:
        try:
            command = parse_command(text)
        except BadCommand as error:
            await self._say(error_message(str(error)))
            return
        try:
            async with self._turn, borrowed_thread():
                reply = await self._obey(command)
        except ProgressUnavailable:
            reply = error_message(UNAVAILABLE, command.job)
        if reply is not None:
            await self._say(reply)

    async def _obey(self, command: Command) -> str | None:
        """Do it; what there is to say of it at once.

        Raises:
            ProgressUnavailable: a bare id needs a look into Redis.
        """
        obey = {
            "watch": self._begin_to_watch,
            "unwatch": self._stop_watching,
            "cancel": self._ask_to_stop,
        }
        return await obey[command.verb](command.job)

    async def _begin_to_watch(self, reference: str) -> str | None:
        user = await self._user_now()
        grant = await admit(reference, "watch", user=user, manager=self._manager)
        if grant is None:
            return error_message(NO_SUCH_JOB, reference)
        if len(self._watchers) >= MAX_JOBS and grant.job_id not in self._watchers:
            return error_message(f"{MAX_JOBS} jobs are watched; unwatch another first.", reference)
        self._permission.add(grant)
        self._watch(grant)
        return None

    async def _stop_watching(self, reference: str) -> None:
        self._leave(named_by(reference))

    async def _ask_to_stop(self, reference: str) -> str | None:
        user, watcher = await self._user_now(), self._watchers.get(named_by(reference))
        state, is_asked = await cancel(reference, user=user, manager=self._manager)
        if state is None:
            return error_message(NO_SUCH_JOB, reference)
        if not is_asked:
            return error_message(HAS_ENDED, reference)
        if watcher is None:
            return state.message
        # It is watched over this connection, where nothing older may follow what was sent.
        if self._watchers.get(state.job_id) is watcher:
            watcher.repeat()
        return None

    async def _user_now(self) -> Any:
        # The handshake may be an hour old.
        return await self._visitor.user_now()

    def _watch(self, grant: Grant) -> None:
        """Watch a job, from its present state on: again, where that is so already."""
        job_id = grant.job_id
        if job_id in self._watchers:
            self._watchers.pop(job_id).close()
        watcher = self._manager.watcher(
            job_id, max_per_second=settings.max_updates_per_second, may_see=grant.may_see
        )
        watcher.on_update = self._has_news.set
        self._watchers[job_id] = watcher
        self._has_news.set()  # It may be known already.

    def _leave(self, job_id: str) -> None:
        watcher = self._watchers.pop(job_id, None)
        if watcher is not None:
            watcher.close()
            self._permission.discard(job_id)

    async def _tell(self) -> int:
        """Tell the news until there is no more to come; the code to close with."""
        deadline = self._now() + settings.stream_seconds
        while self._now() < deadline:
            ask_at = min(self._now() + settings.heartbeat_seconds, deadline)
            while self._now() < ask_at:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(ask_at):
                        await self._has_news.wait()
                self._has_news.clear()
                if (code := await self._notify_watchers()) is not None:
                    return code
            for job_id in await self._permission.lost():
                if self._only is not None:
                    return POLICY_VIOLATION
                self._leave(job_id)
                await self._say(error_message(NO_SUCH_JOB, job_id))
        return GOING_AWAY

    async def _notify_watchers(self) -> int | None:
        for job_id, watcher in tuple(self._watchers.items()):
            # It may have been left, or be watched anew, while another job was told of.
            is_watching = self._watchers.get(job_id) is watcher
            if is_watching and watcher.closed:  # With the hub.
                return GOING_AWAY
            # Asked only now, after the last message was taken: who is slow is told the newest.
            state = watcher.poll() if is_watching else None
            if state is not None:
                await self._say(state.message)
                if state.ended:
                    self._leave(job_id)
                    if self._only is not None:
                        return NORMAL
        return None

    async def _say(self, text: str) -> None:
        """Send a message.

        Raises:
            TimeoutError: the client has taken nothing for a heartbeat, its buffers being full.
        """
        async with asyncio.timeout(settings.heartbeat_seconds):
            await self._send({"type": "websocket.send", "text": text})
