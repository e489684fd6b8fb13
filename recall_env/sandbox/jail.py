"""One jail with a zygote inside: its start and its end, and the ladder of ways in which this machine can jail.

The process is our own Popen, so that the control socket can be passed and the status is ours. What nsjail is told is
in nsjail_config.py; episodes, deadlines and results are episode.py's.
"""

import errno
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recall_env.errors import SandboxFailure, SandboxUnavailable
from recall_env.sandbox import cgroups
from recall_env.sandbox.nsjail_config import (
    NICE,
    PYTHON_FLAGS,
    SYSTEM_LIBRARIES,
    ZYGOTE_ENVIRONMENT,
    configuration,
    find_nsjail,
    outside_ids,
    python_sources,
)

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 3.0
PASSING = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # no reason to jail in a lesser way from now on
LOADER_VARIABLES = ("LD_LIBRARY_PATH",)  # our interpreter or nsjail may need it; nsjail passes nothing on


@dataclass(frozen=True)
class Rung:
    """One way to jail on this machine; LADDER has the best first."""

    name: str
    root: bool  # for root: each episode is a user of its own
    namespaces: bool = True  # nsjail's; without them Landlock, one long filter and rlimits are all there is
    cgroup: bool = False  # memory and processes of a whole jail are bounded too


LADDER = (
    Rung("root with cgroups", root=True, cgroup=True),
    Rung("root without cgroups", root=True),
    Rung("unprivileged user namespace", root=False),
    Rung("root without namespaces: Landlock, seccomp and rlimits", root=True, namespaces=False),
    Rung("no namespaces: Landlock, seccomp and rlimits", root=False, namespaces=False),
)


class Jail:
    """A running jail. `control` is the host's end of the zygote's socket; the zygote has said that it is ready."""

    def __init__(self, rung: Rung, cpu: int | None = None, share: float = 1.0) -> None:
        """Start one and wait until it serves; SandboxUnavailable, with its own words, when it does not.

        cpu: the processor it and its episodes stay on. share: its part of the memory of all jails.
        Call it from a thread that lives as long as the jail: the kernel ends the jail with the thread that made it.
        """
        self.rung = rung
        self.cgroups: list[Path] = []
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.log: int | None = os.memfd_create("jail.log")
        self.process: subprocess.Popen[bytes] | None = None
        passed = [theirs.fileno()]
        try:
            if rung.cgroup:
                self.cgroups = cgroups.make(f"{os.getpid()}-{secrets.token_hex(4)}", share)
            plan = {
                "parent": os.getpid(),
                "cpu": cpu,
                "nice": NICE,
                "cgroups": [str(folder) for folder in self.cgroups],
            }
            self._start(plan | (self._nsjail if rung.namespaces else self._landlock)(passed), passed)
            theirs.close()
            self._await_ready()
        except BaseException:
            self.stop()
            raise
        finally:
            theirs.close()
            for fd in passed[1:]:
                os.close(fd)

    def _nsjail(self, passed: list[int]) -> dict[str, Any]:
        """What launch.py is to stage and run; the configuration joins the descriptors to be passed."""
        order = json.dumps({"landlock": None, "first_uid": None})
        stage, text = configuration(self.rung.root, passed[0], order)
        config = os.memfd_create("nsjail.cfg")
        passed.append(config)
        os.write(config, text.encode())
        return {"stage": stage, "argv": [find_nsjail(), "--config", f"/proc/self/fd/{config}"]}

    def _landlock(self, passed: list[int]) -> dict[str, Any]:
        readable = [*SYSTEM_LIBRARIES, *(source for source, _ in python_sources().values())]
        order = json.dumps({"landlock": readable, "first_uid": outside_ids() if self.rung.root else None})
        zygote = str(Path(__file__).with_name("zygote.py"))
        return {
            "stage": {},
            "argv": [python_sources()["python"][0], *PYTHON_FLAGS, zygote, str(passed[0]), order],
        }

    def _start(self, plan: dict[str, Any], passed: list[int]) -> None:
        own = () if self.rung.namespaces else ZYGOTE_ENVIRONMENT  # nsjail sets them itself
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")), json.dumps(plan)],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            env={name: os.environ[name] for name in LOADER_VARIABLES if name in os.environ}
            | dict(pair.split("=", 1) for pair in own),
            cwd="/",
            pass_fds=passed,
            start_new_session=True,
        )

    def _await_ready(self) -> None:
        self.control.settimeout(START_TIMEOUT_S)
        try:
            payload = self.control.recv(4096)
        except TimeoutError:
            raise SandboxFailure(f"a jail did not serve within {START_TIMEOUT_S:g} s ({self.rung.name})") from None
        if not payload:
            raise SandboxUnavailable(f"a jail could not start ({self.rung.name}): {self.last_words()}")
        ready = json.loads(payload)
        if not ready["ready"]:
            raise SandboxUnavailable(f"a jail cannot isolate its episodes ({self.rung.name}): {ready['why']}")
        self.control.settimeout(None)

    def stop(self) -> None:
        """End the jail and every episode in it, and remove its cgroups. Twice is harmless."""
        self.control.close()  # the zygote exits on this, and as PID 1 takes all others with it
        if self.process is not None:
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()
        cgroups.remove(self.cgroups)
        self.cgroups = []
        if self.log is not None:
            os.close(self.log)
            self.log = None

    def last_words(self) -> str:
        """What matters of nsjail's and the zygote's standard error: nsjail's first complaints, else the last lines."""
        if self.log is None:
            return "it is stopped"
        said = os.pread(self.log, 1 << 16, max(0, os.fstat(self.log).st_size - (1 << 16))).decode("utf-8", "replace")
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        complaints = [line.split("] ", 1)[-1] for line in lines if line.startswith(("[W]", "[E]", "[F]"))]
        return " | ".join(complaints[:2] or lines[-3:]) or "it said nothing"


@dataclass(frozen=True)
class Probe:
    """What this machine can do. rung: the best that works, or None; failures: (rung, reason) of those above it."""

    rung: Rung | None
    failures: tuple[tuple[Rung, str], ...]

    @property
    def obstacle(self) -> tuple[Rung, str] | None:
        """The last failure of a way with namespaces that is meant for this user; None when there was none."""
        root = os.geteuid() == 0
        mine = [failure for failure in self.failures if failure[0].root == root and failure[0].namespaces]
        degraded = self.rung is None or not self.rung.namespaces
        return mine[-1] if mine and degraded else None


def start_jail(cpu: int | None = None, share: float = 1.0) -> Jail:
    """A jail on the best rung that works here, found once per process. SandboxUnavailable when none does."""
    global _rung
    with _rung_lock:
        if _rung is None:
            jail, found = _climb(cpu, share)
            if jail is None:
                raise SandboxUnavailable(
                    f"tools cannot be jailed here: {found.obstacle[1]}; run `recall-env doctor` for the fix"
                )
            _rung = found.rung
            if found.obstacle is not None:
                print(
                    f"recall_env: no namespaces to be had ({found.obstacle[1]}); tools are held by Landlock, seccomp "
                    "and rlimits: they cannot write files, and all together are not bounded; see `recall-env doctor`",
                    file=sys.stderr,
                    flush=True,
                )
            return jail
    return Jail(_rung, cpu, share)


def probe() -> Probe:
    """Try the rungs from the best down, by starting a real jail on each until one serves."""
    jail, found = _climb()
    if jail is not None:
        jail.stop()
    return found


def _climb(cpu: int | None = None, share: float = 1.0) -> tuple[Jail | None, Probe]:
    failures = []
    for rung in LADDER:
        if rung.root and os.geteuid() != 0:
            failures.append((rung, "this is not root"))
            continue
        if not rung.root and os.geteuid() == 0:
            failures.append((rung, "this is root"))
            continue
        try:
            if not rung.namespaces:
                find_nsjail()  # a program that is missing is to be installed, not to be done without
            return Jail(rung, cpu, share), Probe(rung, tuple(failures))
        except (SandboxUnavailable, OSError) as error:
            if isinstance(error, OSError) and error.errno in PASSING:
                raise SandboxFailure(f"no jail can be started now: {error}") from error
            failures.append((rung, str(error)))
    return None, Probe(None, tuple(failures))


def _new_lock() -> None:
    """A forked child may inherit the lock in a locked state, from a thread that it does not have."""
    global _rung_lock
    _rung_lock = threading.Lock()


_rung: Rung | None = None
_rung_lock = threading.Lock()
os.register_at_fork(after_in_child=_new_lock)
