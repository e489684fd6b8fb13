"""EnvPool: many live episodes, each with a thread while it steps. Each advances alone: no barrier, no lock-step.

A step of an episode waits for its tools, in the jail, with Python's lock released; so threads suffice.
"""

import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym

from recall_env.errors import RecallError

__all__ = ["EnvPool", "Event"]


@runtime_checkable
class Measured(Protocol):
    """An environment that measures itself, as SynToolEnv does."""

    def telemetry(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Event:
    """What one reset or step came to. After a reset, reward is 0 and nothing has ended.

    error: what the environment raised instead; the other fields then hold nothing.
    telemetry: of the episode so far; empty when the environment has none.
    """

    index: int
    observation: str = ""
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    info: dict[str, Any] = field(default_factory=dict)
    telemetry: dict[str, Any] = field(default_factory=dict)
    error: BaseException | None = None


Order = tuple[int, Callable[[], Event]]  # a slot, and what is to be done in it


def _telemetry(env: gym.Env) -> dict[str, Any]:
    """Gymnasium's wrappers do not pass methods on, so it is asked of the environment itself."""
    inner = env.unwrapped
    return inner.telemetry() if isinstance(inner, Measured) else {}


class EnvPool:
    """`size` environments; at most one operation in flight for each. To be driven from one thread."""

    def __init__(self, make_env: Callable[[], gym.Env], size: int, workers: int | None = None):
        """make_env: called in a worker thread, when a slot is first reset. workers: threads, made when there is work
        for one more; fewer than `size` (the default) let a slow tool keep others waiting."""
        workers = size if workers is None else workers
        if size < 1 or workers < 1:
            raise RecallError(f"EnvPool: expected size and workers of at least 1, got {size} and {workers}")
        self.size = size
        self._make_env = make_env
        self._envs: list[gym.Env | None] = [None] * size
        self._busy = [False] * size
        self._ready: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._pending = 0
        self._closed, self._closing = threading.Event(), threading.Lock()
        self._waiting: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._workers: list[threading.Thread] = []
        self._most_workers = min(workers, size)
        self._dismiss = weakref.finalize(self, _dismiss, self._waiting, self._workers)

    @property
    def pending(self) -> int:
        """Operations sent whose events recv has not handed out yet."""
        return self._pending

    def env(self, index: int) -> gym.Env | None:
        """The environment of a slot, None before its first reset. Only to be looked at while nothing runs in it."""
        return self._envs[index]

    def reset(self, index: int, *, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin an episode in a slot. Its event comes through recv.

        seed, options: as `SynToolEnv.reset` takes them. Raises RecallError for a slot that is busy or does not exist,
        and when the pool is closed. What the environment raises comes in the event.
        """
        self._take(index)
        self._submit(index, lambda: self._reset(index, seed, options))

    def send(self, index: int, action: "str | Future[str]") -> None:
        """Take a turn in a slot. Its event comes through recv. Raises as `reset` does.

        action: the turn, or the Future of one that is still being written, which holds no worker until it is there.
        What the Future raises is the event's error.
        """
        self._take(index)
        if isinstance(action, Future):
            action.add_done_callback(lambda written: self._submit(index, lambda: self._step(index, written.result())))
        else:
            self._submit(index, lambda: self._step(index, action))

    def recv(self, min_ready: int = 1, timeout_s: float | None = None) -> list[Event]:
        """The events that are ready, in the order they became so; waits for at least min_ready of them.

        It never waits for more than are pending (none pending: returns []), and after timeout_s it returns what it
        has. min_ready=0 does not wait.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        wanted = min(min_ready, self._pending)
        events: list[Event] = []
        while len(events) < self._pending:
            wait = len(events) < wanted
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            try:
                events.append(self._ready.get(block=wait, timeout=left if wait else None))
            except queue.Empty:
                break
        self._pending -= len(events)
        for event in events:
            self._busy[event.index] = False
        return events

    def close(self) -> None:
        """Wait for the operations that run, drop those that wait, close every environment. Harmless twice."""
        with self._closing:
            self._closed.set()
        self._dismiss()
        for worker in self._workers:
            worker.join()
        self._pending = 0  # of what was cancelled no event will come: recv must not wait for it
        envs, self._envs = self._envs, [None] * self.size
        for env in envs:
            if env is not None:
                env.close()

    def __enter__(self) -> "EnvPool":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _take(self, index: int) -> None:
        if self._closed.is_set():
            raise RecallError("EnvPool: it is closed")
        if not 0 <= index < self.size:
            raise RecallError(f"EnvPool: no slot {index}; it has {self.size}")
        if self._busy[index]:
            raise RecallError(f"EnvPool: slot {index} is busy; recv its event first")
        self._busy[index] = True
        self._pending += 1

    def _submit(self, index: int, operation: Callable[[], Event]) -> None:
        """From the driver's thread, or from one that has just written a turn."""
        with self._closing:
            if self._closed.is_set():
                return
            unfinished = self._pending - self._ready.qsize()
            if len(self._workers) < min(unfinished, self._most_workers):  # no thread that would find nothing to do
                name, queues = f"recall-env_{len(self._workers)}", (self._waiting, self._ready, self._closed)
                self._workers.append(threading.Thread(target=_work, args=queues, name=name, daemon=True))
                self._workers[-1].start()
            self._waiting.put((index, operation))

    def _reset(self, index: int, seed: int | None, options: dict[str, Any] | None) -> Event:
        env = self._envs[index]
        if env is None:
            env = self._envs[index] = self._make_env()
        observation, info = env.reset(seed=seed, options=options)
        return Event(index, observation, info=info)

    def _step(self, index: int, action: str) -> Event:
        env = self._envs[index]
        if env is None:
            raise RecallError(f"EnvPool: slot {index} was never reset")
        outcome = env.step(action)
        return Event(index, *outcome, telemetry=_telemetry(env))


def _work(
    waiting: "queue.SimpleQueue[Order | None]", ready: "queue.SimpleQueue[Event]", closed: threading.Event
) -> None:
    """One worker. Not a ThreadPoolExecutor's: it makes a future for each step, which takes longer than the step's own
    work on the host, and nobody here would ask it. Holds no pool, so that one that is dropped can end."""
    while (order := waiting.get()) is not None and not closed.is_set():
        index, operation = order
        try:
            event = operation()
        except BaseException as error:  # whatever it is, the driver must hear of it, or recv waits forever
            event = Event(index, error=error)
        ready.put(event)
        del order, operation, event  # or, waiting for the next, it would hold the pool that these hold


def _dismiss(waiting: "queue.SimpleQueue[Order | None]", workers: list[threading.Thread]) -> None:
    for _ in workers:
        waiting.put(None)
