"""JailPool: a shard for each processor (shard.py), an episode forked for each session, whatever dies put right.

Sessions talk to their episode directly, over a socket of their own. `shared_pool` is the process-wide pool that
environments use.
"""

import errno
import os
import resource
import socket
import threading
import time
import weakref
from typing import Any, Literal

from recall_env.errors import EnvError, SandboxFailure
from recall_env.in_pieces import SLOW, Pieces, finish
from recall_env.sandbox.broker import Channel
from recall_env.sandbox.compiled import CompiledSources
from recall_env.sandbox.episode import Episode, wire_pair
from recall_env.sandbox.jail import Rung
from recall_env.sandbox.limits import CEILING, Limits
from recall_env.sandbox.modes import open_session
from recall_env.sandbox.session import Mode, Pool, Session
from recall_env.sandbox.shard import NO_DESCRIPTORS, JailedProcess, Shard
from recall_env.sandbox.unsafe import UnsafePool

OPEN_TIMEOUT_S = 20.0  # for a zygote to fork; it is otherwise idle, so longer means a machine in trouble

Kind = Literal["nsjail", "unsafe"]


class JailPool:
    """Sessions in jails. Thread-safe; `close` leaves no process, descriptor, cgroup or file behind."""

    def __init__(
        self,
        shards: int | None = None,
        limits: Limits | None = None,
        ceiling: Limits = CEILING,
        rung: Rung | None = None,
    ) -> None:
        """shards: jails, each with a zygote of its own, on a processor of its own (default: one per processor). Jails
        start when first needed, so this costs nothing. limits: what `open` uses when it is given none. ceiling: the
        most it may be given. rung: one of `jail.LADDER`, for a lesser way than the best that works here."""
        if shards is not None and shards < 1:
            raise ValueError(f"shards: expected 1 or more, got {shards}")
        self.limits, self.ceiling, self._rung = limits or Limits(), ceiling, rung
        self._cpus = sorted(os.sched_getaffinity(0))
        count = shards or len(self._cpus)
        self._shards: list[Shard | None] = [None] * count
        self._slots = [threading.Lock() for _ in range(count)]
        self._loads = [0] * count  # sessions opened and not yet closed
        self.compiled = CompiledSources()
        self._lock = threading.RLock()  # re-entered when a collected session is closed in the middle of this
        self._closed = False
        self._sessions: weakref.WeakSet[JailSession] = weakref.WeakSet()
        self._at_end = weakref.finalize(self, _stop_all, self._sessions, self._shards, self._slots)
        _pools.add(self)

    def open(
        self,
        source: str,
        *,
        state: Any = None,
        seed: int = 0,
        limits: Limits | None = None,
        mode: Mode = "stateful",
        services: Channel | None = None,
    ) -> Session:
        return finish(self.open_in_pieces(source, state=state, seed=seed, limits=limits, mode=mode, services=services))

    def open_in_pieces(
        self, source: str, *, state: Any, seed: int, limits: Limits | None, mode: Mode, services: Channel | None
    ) -> Pieces[Session]:
        """`open`, for who has more to do than to wait for it (recall_env/in_pieces.py)."""
        limits = limits or self.limits
        limits.check_ceiling(self.ceiling)
        shard = self._shards[self._emptiest()]
        if shard is None or not shard.alive:
            yield SLOW  # to start a jail takes a moment
        return (yield from open_session(lambda: self._start(seed, limits, services), source, state, mode))

    def _start(self, seed: int, limits: Limits, services: Channel | None) -> "JailSession":
        """A session of an episode that the zygote is about to fork, in the jail with the fewest."""
        with self._lock:
            if self._closed:
                raise SandboxFailure("this pool is closed")
            slot = self._emptiest()
            self._loads[slot] += 1
        try:
            return self._fork(slot, seed, limits, services)
        except BaseException:
            self._leave(slot)
            raise

    @property
    def closed(self) -> bool:
        """Whether `close` was called; no session can be opened any more."""
        return self._closed

    @property
    def rung(self) -> str | None:
        """What the jails stand on (jail.LADDER), by name; None before the first one was started."""
        return next((shard.jail.rung.name for shard in self._shards if shard is not None), None)

    def close(self) -> None:
        """End every session and every jail, and wait for that; `open` then raises SandboxFailure. Twice is harmless."""
        self._closed = True
        self._at_end()

    def _fork(self, slot: int, seed: int, limits: Limits, services: Channel | None) -> "JailSession":
        try:
            ours, theirs = _wire_pair(limits)
        except OSError as error:
            raise _not_opened(error) from error
        try:
            with theirs:
                process = self._shard(slot).fork(theirs, seed, limits)
            session = JailSession(self, slot, ours, process, limits, services)
        except OSError as error:
            ours.close()
            raise _not_opened(error) from error
        except BaseException:
            ours.close()
            raise
        self._sessions.add(session)
        return session

    def _shard(self, slot: int) -> Shard:
        """The live shard of a slot; a dead one is replaced, the first one started."""
        with self._slots[slot]:
            if self._closed:
                raise SandboxFailure("this pool is closed")
            shard = self._shards[slot]
            if shard is None or not shard.alive:
                if shard is not None:
                    shard.stop()
                count = len(self._shards)
                cpu = self._cpus[slot % len(self._cpus)] if len(self._cpus) > 1 else None
                shard = self._shards[slot] = Shard(cpu, 1 / count, self._rung)
            return shard

    def _emptiest(self) -> int:
        return min(range(len(self._loads)), key=self._loads.__getitem__)

    def _leave(self, slot: int) -> None:
        with self._lock:
            self._loads[slot] -= 1


def _wire_pair(limits: Limits) -> tuple[socket.socket, socket.socket]:
    """As wire_pair; where descriptors run out, with as many as the system lets us have."""
    try:
        return wire_pair(limits)
    except OSError as error:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if error.errno != errno.EMFILE or soft == hard:
            raise
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return wire_pair(limits)


def _not_opened(error: OSError) -> SandboxFailure:
    full = error.errno in (errno.EMFILE, errno.ENFILE)
    return SandboxFailure(NO_DESCRIPTORS if full else f"no session can be opened: {error}")


class JailSession(Episode):
    """A session whose process is jailed."""

    closes_at_once = True  # the zygote sees to what is left

    def __init__(
        self,
        pool: JailPool,
        slot: int,
        sock: socket.socket,
        process: JailedProcess,
        limits: Limits,
        services: Channel | None,
    ) -> None:
        super().__init__(sock, process, limits, services, pool.compiled)
        self._pool, self._slot = pool, slot
        self._jailed = process
        self._open_by = 0.0

    def load_in_pieces(self) -> Pieces[None]:
        """The wait for the zygote's fork is in it, and not on the source's clock: a queue there is our trouble."""
        self._open_by = time.monotonic() + OPEN_TIMEOUT_S
        try:
            yield from super().load_in_pieces()
        except (SandboxFailure, EnvError):
            yield from self._check_opened()
            raise
        yield from self._check_opened()

    def _more_time(self) -> bool:
        opened_at = self._jailed.opened_at
        if opened_at is None:
            late, self.deadline = time.monotonic() >= self._open_by, self._open_by
            return not late
        due = opened_at + self._timeout_s
        if due <= self.deadline:
            return False
        self.deadline = due
        return True

    def _check_opened(self) -> Pieces[None]:
        if not self._jailed.known.is_set():
            yield SLOW
        if not self._jailed.known.wait(max(0.0, self._open_by - time.monotonic())):
            raise SandboxFailure(f"the jail has not opened an episode within {OPEN_TIMEOUT_S:g} s")
        if self._jailed.pidfd is None:
            why = self._jailed.end.lost if self._jailed.end else "it is closed"
            raise SandboxFailure(f"the jail cannot open an episode: {why}")

    def _release(self) -> None:
        super()._release()
        self._pool._leave(self._slot)

    def __del__(self) -> None:
        self.close()


_pools: "weakref.WeakSet[JailPool]" = weakref.WeakSet()
_shared: dict[Kind, JailPool | UnsafePool] = {}
_shared_lock = threading.Lock()


def shared_pool(kind: Kind = "nsjail") -> Pool:
    """The pool of this process, with the default Limits: made when first asked for, closed at exit, made anew when
    somebody has closed it. A forked child gets one of its own."""
    makers = {"nsjail": JailPool, "unsafe": UnsafePool}
    if kind not in makers:
        raise ValueError(f"sandbox: expected one of {', '.join(makers)}, got {kind!r}")
    with _shared_lock:
        if kind not in _shared or _shared[kind].closed:
            _shared[kind] = makers[kind]()
        return _shared[kind]


def _stop_all(sessions: "weakref.WeakSet[JailSession]", shards: list[Shard | None], slots: list[Any]) -> None:
    """End a pool: when it is closed, when it is collected, or at the interpreter's exit; whichever is first."""
    for session in list(sessions):
        session.close()
    for slot, lock in enumerate(slots):
        with lock:
            shard, shards[slot] = shards[slot], None
        if shard is not None:
            shard.stop()


def _forget_in_child() -> None:
    """A forked child must not hold the parent's sockets open: jails end when the parent's ends close."""
    global _shared_lock
    _shared_lock = threading.Lock()
    for pool in list(_pools):
        pool._closed = True
        pool._at_end.detach()
        for session in list(pool._sessions):
            session.abandon()
        for shard in pool._shards:
            if shard is not None:
                shard.forget()
    _pools.clear()
    _shared.clear()


os.register_at_fork(after_in_child=_forget_in_child)
