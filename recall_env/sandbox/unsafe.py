"""UnsafePool: the same episodes with no jail around them. What a tool does, it does to this machine.

For machines without nsjail and for showing what the jail is good for; chosen by name only, and said aloud. The
limits on memory, processor time and files hold (they are the process's own); nothing else is held back.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recall_env.errors import SandboxFailure
from recall_env.in_pieces import finish
from recall_env.sandbox.broker import Channel
from recall_env.sandbox.episode import End, Episode, wire_pair
from recall_env.sandbox.limits import CEILING, Limits
from recall_env.sandbox.modes import open_session
from recall_env.sandbox.nsjail_config import ENVIRONMENT
from recall_env.sandbox.session import Mode, Session

WARNING = (
    "recall_env: WARNING: tools run WITHOUT a jail (sandbox='unsafe'): they can read and change whatever you can. "
    "Use this only for tools you trust."
)
SCRATCH_PREFIX = "recall-unsafe-"
_warned = threading.Event()


class PlainProcess:
    """An ordinary child process and its scratch folder."""

    can_signal_itself = True

    def __init__(self, sock: socket.socket, seed: int, limits: Limits) -> None:
        self.scratch = tempfile.mkdtemp(prefix=f"{SCRATCH_PREFIX}{os.getpid()}-")
        order = json.dumps({"seed": seed, "limits": asdict(limits)})
        guest = str(Path(__file__).with_name("guest.py"))
        self.popen = subprocess.Popen(
            [sys.executable, "-s", "-S", "-B", guest, str(sock.fileno()), order],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.scratch,
            env={**os.environ, **dict(pair.split("=") for pair in ENVIRONMENT)},
            pass_fds=(sock.fileno(),),
            start_new_session=True,  # a group of its own, so that what it forks can be ended with it
        )
        self._pidfd: int | None = os.pidfd_open(self.popen.pid)
        self._end: End | None = None
        self._owner = os.getpid()
        self._lock = threading.RLock()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)

    def wait_end(self, timeout_s: float) -> End | None:
        with self._lock:
            if self._pidfd is not None:
                poll = select.poll()
                poll.register(self._pidfd, select.POLLIN)
                if not poll.poll(timeout_s * 1000):
                    return None
                _, status, usage = os.wait4(self.popen.pid, 0)
                self.popen.returncode = os.waitstatus_to_exitcode(status)
                os.close(self._pidfd)
                self._pidfd = None
                self._end = End(status, usage.ru_utime + usage.ru_stime)
            return self._end

    def release(self) -> None:
        if os.getpid() != self._owner:
            return  # a forked child's copy of the parent's session
        self.kill()
        self.wait_end(10.0)
        _remove(self.scratch)


class UnsafePool:
    """Sessions without a jail: one plain child process each. Thread-safe."""

    def __init__(self, limits: Limits | None = None, ceiling: Limits = CEILING) -> None:
        if not _warned.is_set():
            _warned.set()
            print(WARNING, file=sys.stderr, flush=True)
        _sweep()
        self.limits, self.ceiling = limits or Limits(), ceiling
        self._closed = False
        self._sessions: weakref.WeakSet[Episode] = weakref.WeakSet()
        weakref.finalize(self, _close_sessions, self._sessions)

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
        return finish(open_session(lambda: self._start(seed, limits, services), source, state, mode))

    def _start(self, seed: int, limits: Limits, services: Channel | None) -> Episode:
        if self._closed:
            raise SandboxFailure("this pool is closed")
        ours, theirs = wire_pair(limits)
        try:
            with theirs:
                session = UnsafeSession(ours, PlainProcess(theirs, seed, limits), limits, services)
        except BaseException:
            ours.close()
            raise
        self._sessions.add(session)
        return session

    @property
    def closed(self) -> bool:
        """Whether `close` was called; no session can be opened any more."""
        return self._closed

    def close(self) -> None:
        """End every session and its process; `open` then raises SandboxFailure. Twice is harmless."""
        self._closed = True
        _close_sessions(self._sessions)


class UnsafeSession(Episode):
    def __del__(self) -> None:
        self.close()


def _close_sessions(sessions: "weakref.WeakSet[Episode]") -> None:
    for session in list(sessions):
        session.close()


def _sweep() -> None:
    """Remove the scratch folders of processes that were killed before they could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH_PREFIX}*"):
        owner = folder.name.removeprefix(SCRATCH_PREFIX).split("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            _remove(folder)


def _remove(folder: str | Path) -> None:
    """With rm: a tool may have nested folders deeper than Python recurses. What is another user's stays."""
    subprocess.run(["rm", "-rf", "--", str(folder)], stderr=subprocess.DEVNULL, check=False)
