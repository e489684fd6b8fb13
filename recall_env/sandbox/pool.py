"""JailPool: one nsjail and zygote per shard, an episode forked for each session, whatever dies put right.

Each shard has a keeper thread that starts the jail (the kernel ends a jail with the thread that made it), reads the
zygote's notices and cleans up. Sessions talk to their episode directly, over a socket of their own. `shared_pool` is
the process-wide pool that environments use.
"""

import array
import contextlib
import errno
import functools
import json
import os
import queue
import resource
import select
import signal
import socket
import threading
import time
import weakref
from dataclasses import asdict
from typing import Any, Literal

from recall_env.errors import EnvError, SandboxFailure
from recall_env.sandbox.broker import Channel
from recall_env.sandbox.compiled import CompiledSources
from recall_env.sandbox.episode import End, Episode, wire_pair
from recall_env.sandbox.jail import Jail, Rung, start_jail
from recall_env.sandbox.limits import CEILING, Limits
from recall_env.sandbox.modes import open_session
from recall_env.sandbox.session import Mode, Pool, Session
from recall_env.sandbox.unsafe import UnsafePool

OPEN_TIMEOUT_S = 20.0  # for a zygote to fork; it is otherwise idle, so longer means a machine in trouble
EXIT_WAIT_S = 0.3  # a process that closed its socket because it exits is gone well within this
NO_DESCRIPTORS = "this process has no room for another file descriptor (an episode takes two); raise `ulimit -n`"

Kind = Literal["nsjail", "unsafe"]


class JailedProcess:
    """An episode's process as the host knows it: by pidfd, which the zygote sends, and by its notice of death."""

    def __init__(self, *, can_signal_itself: bool) -> None:
        self.can_signal_itself = can_signal_itself
        self.pidfd: int | None = None
        self.opened_at: float | None = None  # on the monotonic clock
        self.end: End | None = None
        self.known = threading.Event()  # the zygote has said "opened" or "refused", or is gone
        self.ended = threading.Event()
        self._lock = threading.RLock()  # re-entered when a collected session is closed in the middle of this
        self._released = False

    def opened(self, pidfd: int) -> None:
        with self._lock:
            self.pidfd, self.opened_at = pidfd, time.monotonic()
        if self._released:
            self.release()
        self.known.set()

    def kill(self) -> None:
        with self._lock:
            if self.pidfd is not None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def wait_end(self, timeout_s: float) -> End | None:
        with self._lock:
            if self.pidfd is not None:
                poll = select.poll()
                poll.register(self.pidfd, select.POLLIN)
                if not poll.poll(1000 * min(timeout_s, EXIT_WAIT_S)):
                    return None
        self.ended.wait(timeout_s)  # it is dead; how it died, the zygote is about to say
        return self.end or End(lost=f"its end was not reported within {timeout_s:g} s")

    def set_end(self, end: End) -> None:
        self.end = self.end or end
        self.ended.set()
        self.known.set()

    def release(self) -> None:
        self._released = True
        self.kill()
        with self._lock:
            if self.pidfd is not None:
                os.close(self.pidfd)
                self.pidfd = None


class Shard:
    """One jail with its keeper thread. A dead one stays dead: the pool puts a new one in its place."""

    def __init__(self, cpu: int | None, share: float, rung: Rung | None) -> None:
        """Start the jail, on a processor of its own; raises SandboxFailure when that fails."""
        self.processes: dict[int, JailedProcess] = {}
        self.alive = True
        self._lock = threading.Lock()
        self._next_key = 0
        self._stop, self._stopper = socket.socketpair()
        started: queue.SimpleQueue[Jail | BaseException] = queue.SimpleQueue()
        self._keeper = threading.Thread(
            target=self._keep, args=(started, cpu, share, rung), name="recall-jail", daemon=True
        )
        self._keeper.start()
        outcome = started.get()
        if isinstance(outcome, BaseException):
            self._keeper.join()
            raise outcome
        self.jail = outcome

    def fork(self, theirs: socket.socket, seed: int, limits: Limits) -> JailedProcess:
        """Ask the zygote for an episode on the socket `theirs`. The process may still be unknown on return."""
        process = JailedProcess(can_signal_itself=not self.jail.rung.namespaces)
        with self._lock:
            if not self.alive:
                raise SandboxFailure("the jail died")
            self._next_key += 1
            key = self._next_key
            self.processes[key] = process
            request = b'{"key": %d, "seed": %d, "limits": %b}' % (key, seed, _as_json(limits))
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))]
            try:
                self.jail.control.sendmsg([request], rights)
            except OSError as error:
                del self.processes[key]
                raise SandboxFailure(f"the jail died: {error}") from error
        return process

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._stopper.send(b"x")
        self._keeper.join()

    def forget(self) -> None:
        """In a forked child: close our copies of what is the parent's, and touch nothing else."""
        for fd in [process.pidfd for process in self.processes.values()]:
            if fd is not None:
                os.close(fd)
        for sock in (self.jail.control, self._stop, self._stopper):
            sock.close()
        if self.jail.log is not None:
            os.close(self.jail.log)

    def _keep(
        self, started: "queue.SimpleQueue[Jail | BaseException]", cpu: int | None, share: float, rung: Rung | None
    ) -> None:
        try:
            jail = start_jail(cpu, share) if rung is None else Jail(rung, cpu, share)
        except BaseException as error:
            self._stop.close()
            self._stopper.close()
            started.put(error)
            return
        started.put(jail)
        poll = select.poll()
        poll.register(jail.control, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        try:
            while True:
                ready = {fd for fd, _ in poll.poll()}
                if self._stop.fileno() in ready or not self._read_notice(jail.control):
                    break
        finally:
            with self._lock:
                self.alive = False
            words = jail.last_words()
            for process in list(self.processes.values()):
                process.set_end(End(lost=words))
            self.processes.clear()
            jail.stop()
            self._stop.close()
            self._stopper.close()

    def _read_notice(self, control: socket.socket) -> bool:
        try:
            payload, ancillary, _, _ = control.recvmsg(4096, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            return False
        if not payload:
            return False
        notice = json.loads(payload)
        match notice:
            case {"opened": key}:
                if ancillary:
                    self.processes[key].opened(int.from_bytes(ancillary[0][2][:4], "little"))
                else:  # the kernel drops a descriptor that this process has no room for
                    self.processes.pop(key).set_end(End(lost=NO_DESCRIPTORS))
            case {"refused": key, "why": why}:
                self.processes.pop(key).set_end(End(lost=why))
            case {"ended": ended}:
                for key, status, cpu_s in ended:
                    self.processes.pop(key).set_end(End(status, cpu_s))
        return True


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
        limits = limits or self.limits
        limits.check_ceiling(self.ceiling)
        return open_session(lambda: self._start(seed, limits, services), source, state, mode)

    def _start(self, seed: int, limits: Limits, services: Channel | None) -> "JailSession":
        """A session of an episode that the zygote is about to fork, in the jail with the fewest."""
        with self._lock:
            if self._closed:
                raise SandboxFailure("this pool is closed")
            slot = min(range(len(self._loads)), key=self._loads.__getitem__)
            self._loads[slot] += 1
        try:
            return self._fork(slot, seed, limits, services)
        except BaseException:
            self._leave(slot)
            raise

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def rung(self) -> str | None:
        """What the jails stand on (jail.LADDER), by name; None before the first one was started."""
        return next((shard.jail.rung.name for shard in self._shards if shard is not None), None)

    def close(self) -> None:
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

    def _leave(self, slot: int) -> None:
        with self._lock:
            self._loads[slot] -= 1


@functools.lru_cache(maxsize=64)
def _as_json(limits: Limits) -> bytes:
    return json.dumps(asdict(limits)).encode()


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

    def finish_load(self) -> None:
        """The wait for the zygote's fork is in it, and not on the source's clock: a queue there is our trouble."""
        self._open_by = time.monotonic() + OPEN_TIMEOUT_S
        try:
            super().finish_load()
        except (SandboxFailure, EnvError):
            self._check_opened()
            raise
        self._check_opened()

    def _more_time(self) -> bool:
        opened_at = self._jailed.opened_at
        if opened_at is None:
            late, self._deadline = time.monotonic() >= self._open_by, self._open_by
            return not late
        due = opened_at + self._timeout_s
        if due <= self._deadline:
            return False
        self._deadline = due
        return True

    def _check_opened(self) -> None:
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
