"""Many calls in flight from one thread: an epoll over sessions, each with one call at most, taken in turn."""

import select
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.sandbox import tools
from benchmarks.sandbox.figures import percentile
from recall_env.tool_call import ToolResult

SILENCE_S = 30.0  # beyond any call's own limit


@dataclass
class Driven:
    """Calls made, their latencies, and the time from the first to the last."""

    elapsed_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return len(self.latencies_s) / self.elapsed_s

    def ms(self, percent: float) -> float:
        return 1000 * percentile(self.latencies_s, percent)


def drive(sessions: Iterable[Any], in_flight: int, duration_s: float, least: int = 1) -> Driven:
    """The call of tools.py on session after session, round robin, `in_flight` at a time.

    Ends when `duration_s` are over and `least` calls are made. Raises RuntimeError on a result that is not the right
    one: the speed of a broken thing is no figure.
    """
    idle = deque(sessions)
    epoll, sent, by_fd = select.epoll(), {}, {session.fileno(): session for session in idle}
    for fd in by_fd:
        epoll.register(fd, select.EPOLLIN)
    driven, start, now = Driven(), time.perf_counter(), time.perf_counter()
    with epoll:
        while True:
            going = now < start + duration_s or len(driven.latencies_s) + len(sent) < least
            while going and idle and len(sent) < in_flight:
                session = idle.popleft()
                sent[session.fileno()] = time.perf_counter()
                expect(session.begin(tools.NAME, tools.ARGUMENTS), started=True)
            if not sent:
                break
            ready = epoll.poll(SILENCE_S)
            if not ready:
                raise RuntimeError(f"no call of {len(sent)} came back within {SILENCE_S:g} s")
            for fd, _ in ready:
                result = outcome(by_fd[fd])
                if result is not None:
                    expect(result)
                    now = time.perf_counter()
                    driven.latencies_s.append(now - sent.pop(fd))
                    idle.append(by_fd[fd])
    driven.elapsed_s = time.perf_counter() - start
    return driven


def drive_one(session: Any, duration_s: float, pause_s: float = 0.0) -> Driven:
    """The same with one call in flight, by plain blocking calls; `pause_s` lies before each, and is not latency."""
    driven, start, now = Driven(), time.perf_counter(), time.perf_counter()
    while now < start + duration_s or not driven.latencies_s:
        if pause_s:
            time.sleep(pause_s)
            now = time.perf_counter()
        before = now
        expect(session.call(tools.NAME, tools.ARGUMENTS))
        now = time.perf_counter()
        driven.latencies_s.append(now - before)
    driven.elapsed_s = now - start
    return driven


def median_round(rounds: int, once: Callable[[], Driven]) -> Driven:
    """The one of the middle rate: a round that other work on the machine met is not the figure, nor is a lucky one."""
    return sorted((once() for _ in range(rounds)), key=lambda driven: driven.rate)[rounds // 2]


def outcome(session: Any) -> ToolResult | None:
    """What a readable session's call came to; None while it is still under way."""
    read = session.advance()
    return read if read is None or isinstance(read, ToolResult) else session.settle()


def expect(result: ToolResult | None, started: bool = False, value: Any = tools.VALUE) -> None:
    if result is None and started:
        return
    if result is None or result.status != "ok" or result.value != value:
        raise RuntimeError(f"a call came to {result}; expected {value}")
