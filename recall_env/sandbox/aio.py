"""Sessions from asyncio: a call waits on its episode's socket in the event loop, not in a thread.

An Episode's call is `begin`, then `advance` when its socket can be read; the loop does the waiting here. What may
block goes to threads: asking a service, the word of a death, and every call of a session that has no socket of its
own (mode "process").
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from typing import Any

from recall_env.errors import SandboxFailure
from recall_env.sandbox.broker import ServiceRequest
from recall_env.sandbox.episode import SILENT, Episode, Silent
from recall_env.sandbox.session import Session
from recall_env.tool_call import ToolResult

EARLIEST_LATE_S = 0.001  # a timer may fire a tick before the deadline it was set for


async def call(
    session: Session,
    name: str,
    arguments: dict[str, Any],
    timeout_s: float | None = None,
    threads: Executor | None = None,
) -> ToolResult:
    """One call of a session that is otherwise used without asyncio. For more than a few, keep an AsyncSession."""
    async with borrowed(session, threads) as driven:
        return await driven.call(name, arguments, timeout_s)


@contextlib.asynccontextmanager
async def borrowed(session: Session, threads: Executor | None = None) -> AsyncIterator["AsyncSession"]:
    """An AsyncSession whose Session stays open afterwards, unless a call was cancelled."""
    driven = AsyncSession(session, threads)
    try:
        yield driven
    finally:
        driven.let_go()


class AsyncSession:
    """A Session driven by the running event loop; used by one task at a time, closed by `close`.

    threads: where what may block runs; it should have room for every call that may be under way. Its socket stays
    registered with the loop between calls, which is cheaper than doing so for each, and tells when it has died.
    """

    def __init__(self, session: Session, threads: Executor | None = None) -> None:
        self.session = session
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._episode = session if isinstance(session, Episode) else None
        self._waiting: asyncio.Future[ToolResult | ServiceRequest | Silent] | None = None
        self._watched: int | None = None  # the descriptor that is registered
        self._stirred = False  # it spoke or died when nobody had called
        self._closed = False
        self._alarm: asyncio.TimerHandle | None = None
        self._due = 0.0  # when it rings

    @property
    def sound(self) -> bool:
        """Whether the next call may reach the tools, as far as is known."""
        return not (self._closed or self._stirred) and (self._episode is None or self._episode.alive)

    async def call(self, name: str, arguments: dict[str, Any], timeout_s: float | None = None) -> ToolResult:
        """As Session.call. When the awaiting task is cancelled, the session is closed: its tools are still at it."""
        try:
            if self._episode is None or self._stirred:
                return await self._in_thread(self.session.call, name, arguments, timeout_s)
            return await self._call(self._episode, name, arguments, timeout_s)
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the socket, then end the episode. Twice is harmless."""
        self.let_go()
        self._closed = True
        self.session.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(SandboxFailure("this session was closed during a call"))

    def let_go(self) -> None:
        """Take the socket and the alarm out of the loop."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._unwatch()

    def _unwatch(self) -> None:
        if self._watched is not None:
            self._loop.remove_reader(self._watched)
            self._watched = None

    async def _call(
        self, episode: Episode, name: str, arguments: dict[str, Any], timeout_s: float | None
    ) -> ToolResult:
        outcome: ToolResult | ServiceRequest | Silent | None = episode.begin(name, arguments, timeout_s)
        while True:
            if outcome is None:
                outcome = await self._outcome(episode)
            if isinstance(outcome, ToolResult):
                return outcome
            if isinstance(outcome, ServiceRequest):
                outcome = episode.answer(await self._in_thread(episode.forward, outcome))
            if isinstance(outcome, Silent):
                outcome = await self._in_thread(episode.settle)

    async def _outcome(self, episode: Episode) -> ToolResult | ServiceRequest | Silent:
        waiting = self._waiting = self._loop.create_future()
        self._stirred = False
        if self._watched is None:
            self._watched = episode.fileno()
            self._loop.add_reader(self._watched, self._readable)
        self._set_alarm(episode.remaining_s)
        try:
            return await waiting
        finally:
            self._waiting = None

    def _readable(self) -> None:
        waiting = self._waiting
        if waiting is None or waiting.done():  # nobody asked: it is dead, or speaks out of turn
            self._unwatch()
            self._stirred = True
            return
        try:
            outcome = self._episode.advance()
        except BaseException as error:  # of ours; the caller is to have it, and not the loop
            self._unwatch()
            waiting.set_exception(error)
            return
        if outcome is SILENT:
            self._unwatch()
        if outcome is not None:
            waiting.set_result(outcome)

    def _set_alarm(self, remaining_s: float) -> None:
        """Have `_late` called no later than in `remaining_s`. An alarm of an earlier call serves a later one too, and
        sets itself anew: to cancel and make one for each call would cost more."""
        due = time.monotonic() + remaining_s
        if self._alarm is not None:
            if self._due <= due:
                return
            self._alarm.cancel()
        self._due = due
        self._alarm = self._loop.call_later(max(EARLIEST_LATE_S, remaining_s), self._late)

    def _late(self) -> None:
        self._alarm = None
        if self._waiting is None or self._waiting.done():
            return
        if self._episode.remaining_s <= 0:
            self._readable()
        if not self._waiting.done():
            self._set_alarm(self._episode.remaining_s)

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await self._loop.run_in_executor(self._threads, function, *arguments)
