"""EnvPool: many live episodes. Each advances alone: no barrier, no lock-step.

Their turns are taken in pieces (in_pieces.py): whoever drives the pool goes on with one episode while the tools of all
others run, with no thread for any of them. What cannot be waited for so has workers: judges, services, and
environments other than SynToolEnv.
"""

import contextlib
import functools
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym

from recall_env.env import Step, SynToolEnv
from recall_env.errors import RecallError
from recall_env.in_pieces import SLOW, Pieces, in_one
from recall_env.waits import Waits
from recall_env.workers import Workers

__all__ = ["EnvPool", "Event"]

LOOK_EVERY = 32  # calls of the driver: what is ready by then is gone on with while it is in the processor's caches
QUICK_S = 0.001  # who makes and resets an environment in less time, makes the next one in the driver's thread
AWAY_S = 0.005  # a driver who has not called for so long is away
STAND_IN_S = 1.0  # one look of the stand-in, for which it keeps a pool that everybody else has dropped


@runtime_checkable
class Measured(Protocol):
    """An environment that measures itself, as SynToolEnv does."""

    def telemetry(self) -> dict[str, Any]: ...


@dataclass(slots=True)
class Event:
    """What one reset or step came to. After a reset, reward is 0 and nothing has ended.

    error: what the environment raised instead; the other fields then hold nothing.
    """

    index: int
    observation: str = ""
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    info: dict[str, Any] = field(default_factory=dict)
    error: BaseException | None = None


@dataclass(slots=True)
class _Slot:
    env: gym.Env | None = None
    in_pieces: bool = False  # is how this environment steps
    busy: bool = False  # its event has not been handed out
    work: Pieces[Step] | None = None  # what is under way
    with_worker: bool = False  # is that work


class EnvPool:
    """`size` environments; at most one operation in flight for each. To be driven from one thread.

    Work is done in the driver's calls: `send` takes a turn up to its first wait, `recv` goes on with all that need not
    wait any more. While the driver is away, a thread stands in, so that no tool outlives its time unseen.
    """

    def __init__(self, make_env: Callable[[], gym.Env], size: int, workers: int | None = None):
        """make_env: called when a slot is first reset, in a worker thread unless it was quick before. workers: threads
        for what may take long, made when all others are at work; fewer than `size` (the default) let it keep others of
        its kind waiting."""
        workers = size if workers is None else workers
        if size < 1 or workers < 1:
            raise RecallError(f"EnvPool: expected size and workers of at least 1, got {size} and {workers}")
        self.size = size
        self._make_env = make_env
        self._slots = [_Slot() for _ in range(size)]
        self._pending = 0
        self._begins_quickly = False  # an environment of make_env
        self._events: deque[Event] = deque()
        self._ready: deque[int] = deque()  # slots whose work need not wait any more; from any thread
        self._waits, self._workers = Waits(size), Workers(min(workers, size), "recall-env")
        self._driving = threading.Lock()  # who holds it may touch slots and waits
        self._calls = self._calls_seen = 0  # of the driver; of these, what the stand-in has seen
        self._driver_waits = False  # for the stand-in to leave
        self._stand_in: threading.Thread | None = None
        self._rests = True  # the stand-in
        self._needed, self._closed = threading.Event(), threading.Event()  # the stand-in may be; the pool is
        self._end = weakref.finalize(self, _end, self._closed, self._needed, self._waits)

    @property
    def pending(self) -> int:
        """Operations sent whose events recv has not handed out yet."""
        return self._pending

    def env(self, index: int) -> gym.Env | None:
        """The environment of a slot, None before its first reset. Only to be looked at while nothing runs in it."""
        return self._slots[index].env

    def telemetry(self, index: int) -> dict[str, Any]:
        """What the environment of a slot has measured of its episode; empty when it does no such thing, or there is
        none. Only to be asked while nothing runs in it."""
        env = self._slots[index].env
        inner = None if env is None else env.unwrapped  # Gymnasium's wrappers pass no methods on
        return inner.telemetry() if isinstance(inner, Measured) else {}

    def reset(self, index: int, *, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin an episode in a slot. Its event comes through recv.

        seed, options: as `SynToolEnv.reset` takes them. Raises RecallError for a slot that is busy or does not exist,
        and when the pool is closed. What the environment raises comes in the event.
        """
        self._arrive()
        try:
            self._take(index)
            self._begin(index, self._reset(index, seed, options))
        finally:
            self._driving.release()

    def send(self, index: int, action: "str | Future[str]") -> None:
        """Take a turn in a slot. Its event comes through recv. Raises as `reset` does.

        action: the turn, or the Future of one that is still being written. What the Future raises is the event's
        error.
        """
        self._arrive()
        try:
            self._take(index)
            if isinstance(action, Future):
                action.add_done_callback(functools.partial(self._on_written, index))
            else:
                self._begin(index, self._step(index, action))
                if self._calls % LOOK_EVERY == 0:
                    self._go_on(0)
        finally:
            self._driving.release()

    def recv(self, min_ready: int = 1, timeout_s: float | None = None) -> list[Event]:
        """The events that are ready, in the order they became so; waits for at least min_ready of them.

        It never waits for more than are pending (none pending: returns []), and after timeout_s it returns what it
        has. min_ready=0 does not wait.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._arrive()
        try:
            if self._closed.is_set():
                return []
            timeout_s = None if timeout_s is None else max(0.0, timeout_s)
            wanted = min(min_ready, self._pending)
            self._go_on(0 if len(self._events) >= wanted else timeout_s)
            while len(self._events) < wanted and (deadline is None or time.monotonic() < deadline):
                self._go_on(None if deadline is None else max(0.0, deadline - time.monotonic()))
            events = [self._events.popleft() for _ in range(len(self._events))]
            self._pending -= len(events)
            for event in events:
                self._slots[event.index].busy = False
            return events
        finally:
            self._driving.release()

    def close(self) -> None:
        """Wait for what the workers are at, end all other operations, close every environment. Harmless twice."""
        self._closed.set()
        self._arrive()
        try:
            self._workers.dismiss()
            slots, self._slots = self._slots, [_Slot() for _ in range(self.size)]
            self._pending = 0  # of what was ended no event will come: recv must not wait for it
            self._events.clear()
        finally:
            self._driving.release()
        with contextlib.ExitStack() as last:  # each of these, whatever another raises
            for slot in slots:
                if slot.env is not None:
                    last.callback(slot.env.close)
                if slot.work is not None:
                    last.callback(slot.work.close)
            self._needed.set()
            if self._stand_in is not None:
                self._stand_in.join()
            self._end()

    def __enter__(self) -> "EnvPool":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _arrive(self) -> None:
        """The driver calls. Whoever stands in leaves."""
        self._calls += 1
        if not self._driving.acquire(blocking=False):
            self._driver_waits = True
            self._waits.wake()
            try:
                self._driving.acquire()
            finally:
                self._driver_waits = False

    def _take(self, index: int) -> None:
        if self._closed.is_set():
            raise RecallError("EnvPool: it is closed")
        if not 0 <= index < self.size:
            raise RecallError(f"EnvPool: no slot {index}; it has {self.size}")
        slot = self._slots[index]
        if slot.busy:
            raise RecallError(f"EnvPool: slot {index} is busy; recv its event first")
        if self._stand_in is None:
            shared = weakref.ref(self), self._needed, self._closed
            stand_in = threading.Thread(target=_stand_in, args=shared, name="recall-env-stand-in", daemon=True)
            stand_in.start()
            self._stand_in = stand_in
        slot.busy = True
        self._pending += 1

    def _reset(self, index: int, seed: int | None, options: dict[str, Any] | None) -> Pieces[Step]:
        slot, made_at = self._slots[index], None
        if slot.env is None:
            if not self._begins_quickly:
                yield SLOW
            made_at, self._begins_quickly = time.monotonic(), False  # until it has: it may fail, after long
            slot.env = self._make_env()
            slot.in_pieces = _steps_in_pieces(slot.env)
        if not slot.in_pieces:
            yield SLOW
        observation, info = slot.env.reset(seed=seed, options=options)
        if made_at is not None:
            self._begins_quickly = slot.in_pieces and time.monotonic() - made_at < QUICK_S
        return observation, 0.0, False, False, info

    def _step(self, index: int, action: str) -> Pieces[Step]:
        slot = self._slots[index]
        if slot.env is None:
            return self._refuse_step(index)
        return slot.env.step_in_pieces(action) if slot.in_pieces else in_one(lambda: slot.env.step(action))

    def _step_written(self, index: int, written: "Future[str]") -> Pieces[Step]:
        return (yield from self._step(index, written.result()))

    def _refuse_step(self, index: int) -> Pieces[Step]:
        raise RecallError(f"EnvPool: slot {index} was never reset")
        yield

    def _on_written(self, index: int, written: "Future[str]") -> None:
        """From the thread that has just written a turn."""
        if not self._closed.is_set():
            self._slots[index].work = self._step_written(index, written)
            self._hand_over(index)

    def _go_on(self, timeout_s: float | None) -> None:
        """With all that need not wait any more; waits for the first of it until timeout_s."""
        self._waits.ready(0 if self._ready else timeout_s, self._ready)
        while self._ready:
            self._advance(self._ready.popleft())

    def _begin(self, index: int, work: Pieces[Step]) -> None:
        self._slots[index].work = work
        self._advance(index)

    def _advance(self, index: int) -> None:
        """A slot's work up to its next wait, or to its end."""
        slot = self._slots[index]
        if slot.work is None or slot.with_worker:
            return  # named twice, as an interrupted look may do
        try:
            waiting = next(slot.work)
            if waiting is SLOW:
                slot.with_worker = True
                self._workers.do(functools.partial(self._advance_slow, index, slot))
            else:
                self._waits.add(index, waiting)
                if self._rests:
                    self._rouse_stand_in()
        except StopIteration as end:
            slot.work = None
            self._events.append(_event(index, end.value))
        except BaseException as error:  # whatever it is, the driver must hear of it, or recv waits forever
            slot.work, slot.with_worker = None, False
            self._events.append(Event(index, error=error))
            if not isinstance(error, Exception):  # Ctrl-C and its like: meant for the driver, whose thread this is
                raise

    def _advance_slow(self, index: int, slot: _Slot) -> None:
        """The same in a worker. Work that comes to a wait is handed over at once: to go on too early does no harm."""
        try:
            while next(slot.work) is SLOW:
                pass
        except StopIteration as end:
            slot.work = None
            self._events.append(_event(index, end.value))
        except BaseException as error:
            slot.work = None
            self._events.append(Event(index, error=error))
        slot.with_worker = False
        self._hand_over(index)

    def _hand_over(self, index: int) -> None:
        """From any thread: have the driver, or who stands in for him, look at this slot."""
        self._ready.append(index)
        self._waits.wake()
        self._rouse_stand_in()

    def _rouse_stand_in(self) -> None:
        self._rests = False
        self._needed.set()

    def _stand_in_once(self) -> bool:
        """Go on for the driver, if he has not called for a while. Whether to do so again at once."""
        seen, self._calls_seen = self._calls_seen, self._calls
        if seen != self._calls:
            return False
        if not self._waits.count and not self._ready:
            self._needed.clear()
            self._rests = True
            if not self._waits.count and not self._ready:  # now as before
                return False
            self._rouse_stand_in()
        if not self._driving.acquire(blocking=False):
            return False
        try:
            if not self._driver_waits and not self._closed.is_set():
                self._go_on(STAND_IN_S)
        except BaseException as error:
            if isinstance(error, Exception):
                raise
            # an environment's own KeyboardInterrupt or SystemExit: the driver finds it in the slot's event
        finally:
            self._driving.release()
        return True


def _event(index: int, outcome: object) -> Event:
    """Of what an environment returned, which may be anybody's."""
    try:
        observation, reward, terminated, truncated, info = outcome
    except Exception:
        got = f"{len(outcome)} values" if isinstance(outcome, tuple) else type(outcome).__name__
        wanted = "(observation, reward, terminated, truncated, info)"
        return Event(index, error=RecallError(f"EnvPool: slot {index}: expected {wanted} from step, got {got}"))
    return Event(index, observation, reward, terminated, truncated, info)


def _steps_in_pieces(env: gym.Env) -> bool:
    """A subclass, or a wrapper, with a `step` of its own has a reason for it; its `reset` may take long."""
    return isinstance(env, SynToolEnv) and type(env).step is SynToolEnv.step and type(env).reset is SynToolEnv.reset


def _stand_in(pool: "weakref.ref[EnvPool]", needed: threading.Event, closed: threading.Event) -> None:
    while needed.wait() and not closed.wait(AWAY_S):
        again = True
        while again:
            here = pool()
            if here is None:
                return
            again = here._stand_in_once()
            del here  # so that a pool that everybody else has dropped can end


def _end(closed: threading.Event, needed: threading.Event, waits: Waits) -> None:
    closed.set()
    needed.set()
    waits.close()
