"""Shard: one nsjail with its zygote, and the thread that keeps it; JailedProcess: an episode's process in there.

The kernel ends a jail with the thread that made it, so each has a keeper thread, which starts it, reads the zygote's
notices and cleans up. A dead shard stays dead: pool.py puts a new one in its place.
"""

import array
import contextlib
import functools
import json
import os
import queue
import select
import signal
import socket
import threading
import time
from dataclasses import asdict

from recall_env.errors import SandboxFailure
from recall_env.sandbox.episode import End
from recall_env.sandbox.jail import Jail, Rung, start_jail
from recall_env.sandbox.limits import Limits

EXIT_WAIT_S = 0.3  # a process that closed its socket because it exits is gone well within this
NO_DESCRIPTORS = "this process has no room for another file descriptor (an episode takes two); raise `ulimit -n`"


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
            request = b"%d %d %b" % (key, seed, _as_json(limits))
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
                process.set_end(End(lost=f"its jail died ({words})"))
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
                    self._end(key, End(lost=NO_DESCRIPTORS))
            case {"refused": key, "why": why}:
                self._end(key, End(lost=why))
            case {"ended": ended}:
                for key, status, cpu_s in ended:
                    self._end(key, End(status, cpu_s))
        return True

    def _end(self, key: int, end: End) -> None:
        process = self.processes.pop(key, None)
        if process is not None:  # an episode that was refused ends once more
            process.set_end(end)


@functools.lru_cache(maxsize=64)
def _as_json(limits: Limits) -> bytes:
    return json.dumps(asdict(limits)).encode()
