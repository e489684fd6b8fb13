"""Inside the jail: what an episode loses between the zygote's fork and its own first line, in the order that works.

Two ways, by what the machine allows. Under nsjail an episode gets namespaces of its own on top of the jail's; without
user namespaces there is no nsjail, and Landlock and one long system-call filter do what they can. The zygote makes one
of them at its start, tries it on a child, and forks every episode through it. Standard library only.
"""

import ctypes
import os
import resource
import signal
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import landlock
import rlimits
import seccomp

GUEST = "/guest"  # where nsjail mounts these files, each of them
SCRATCH = "/tmp"
SOCKET, FAILURES = 3, 4  # an episode's descriptors: its socket; a pipe for what goes wrong until it stands
SOCKET_KIND = int(socket.AF_UNIX), int(socket.SOCK_SEQPACKET), 0  # or Python would ask the kernel for it
LINE_BYTES = 500  # of a failure
MS_NOSUID, MS_NODEV, MNT_DETACH = 2, 4, 2
PR_SET_PDEATHSIG = 1
CAPABILITY_VERSION_3 = 0x20080522
LAST_UID = 65_535  # where more than one id is mapped
TRIAL_LIMITS = {  # of episodes that only try things out
    "memory_bytes": 1 << 29, "open_files": 64, "file_bytes": 1 << 20, "cpu_s": 10, "processes": 16,
    "tmpfs_bytes": 1 << 20, "tmpfs_inodes": 64, "output_bytes": 1 << 14, "frame_bytes": 1 << 18,
}  # fmt: skip

# A call with all its arguments. Whatever Python does in a child costs it a copy of each page that is written to on the
# way, for Python counts references and rewrites its own code: so the zygote puts together what can be, before the fork.
Step = tuple[Callable[..., Any], tuple[Any, ...]]

_libc = ctypes.CDLL(None, use_errno=True)
_with_the_interpreter_held = ctypes.PyDLL(None, use_errno=True)  # CDLL would give up its lock around a call


def fork() -> int:
    """fork(2), and not `os.fork`, whose child first makes every lock of `threading` and `logging` anew and seeds
    `random`: 60 pages of memory that each episode would have to copy. The zygote has one thread and holds no lock, and
    an episode is seeded by determinism.py."""
    pid = _with_the_interpreter_held.fork()
    if pid < 0:
        raise _error("fork")
    return pid


class Prepared(NamedTuple):
    """For episodes of the same limits: what each does before it becomes a user of its own, and after."""

    limits: dict[str, Any]
    first: list[Step]
    last: list[Step]


class Isolation(ABC):
    """How this machine's episodes are set apart."""

    own_ids: bool  # each episode has a user id that nobody else has
    _first_uid = _uid = 0

    @abstractmethod
    def prepare(self, limits: dict[str, Any]) -> Prepared:
        """What is the same for all episodes of these limits. To be kept."""

    def steps(self, prepared: Prepared, socket_fd: int, failure_fd: int) -> list[Step]:
        """How the next episode gives up everything it does not need. The two descriptors become SOCKET and FAILURES;
        the second is not SOCKET, unless it is the first too."""
        self._uid = self._uid % LAST_UID + 1
        # The zygote may go before others; a plain user's, started under nice, could not get back to 0.
        nice = max(0, os.getpriority(os.PRIO_PROCESS, 0))
        return [
            (os.dup2, (socket_fd, SOCKET)),
            (os.dup2, (failure_fd, FAILURES)),  # from here on `take` can say what fails
            *prepared.first,
            (os.dup2, (0, 1)),  # 0 is /dev/null
            (os.dup2, (0, 2)),
            (os.closerange, (FAILURES + 1, 1 << 20)),
            *(_become(self._first_uid + self._uid) if self.own_ids else ()),
            (os.setpriority, (os.PRIO_PROCESS, 0, nice)),
            *prepared.last,
            (os.close, (FAILURES,)),
        ]

    @abstractmethod
    def fork(self) -> int:
        """The pid of the child; 0 in the child, which is to `take` its steps next."""


class Namespaces(Isolation):
    """Under nsjail: the episode is the first of a pid namespace, with mounts, IPC and a host name of its own."""

    def __init__(self) -> None:
        for name in os.listdir(GUEST):  # read and done with; every episode would have to copy their mounts
            _do(_libc.umount2, (f"{GUEST}/{name}".encode(), MNT_DETACH))
        self.own_ids = _can_become(LAST_UID)
        self._pidfd = os.pidfd_open(os.getpid())
        self._filter = seccomp.install(seccomp.episode_filter(os.uname().machine))

    def prepare(self, limits: dict[str, Any]) -> Prepared:
        options = f"size={limits['tmpfs_bytes']},nr_inodes={limits['tmpfs_inodes']},mode=0777".encode()
        first = [
            (os.unshare, (os.CLONE_NEWNS | os.CLONE_NEWIPC | os.CLONE_NEWUTS,)),
            (_libc.mount, (b"scratch", SCRATCH.encode(), b"tmpfs", MS_NOSUID | MS_NODEV, options)),
            (os.chdir, (SCRATCH,)),
        ]
        return Prepared(limits, first, [*_give_up_rights(limits, own_ids=self.own_ids), self._filter])

    def fork(self) -> int:
        os.unshare(os.CLONE_NEWPID)
        pid = -1
        try:
            pid = fork()
        finally:
            if pid != 0:  # without the way back, a second unshare in this process is EINVAL
                os.setns(self._pidfd, os.CLONE_NEWPID)
        return pid


class LandlockOnly(Isolation):
    """Without namespaces: no files but the interpreter's, no scratch folder, one system-call filter for everything."""

    def __init__(self, readable: list[str], first_uid: int | None) -> None:
        """readable: files and folders of the interpreter. first_uid: as root, of the ids that nobody else has."""
        import fcntl  # elsewhere no episode is to have it (zygote.RARE)

        self.own_ids = first_uid is not None and _can_become(first_uid)
        if os.geteuid() == 0 and not self.own_ids:
            raise OSError("this is root and cannot become anybody else; tools would be root")
        self._first_uid = first_uid or 0
        ruleset = landlock.ruleset(readable, ["/dev/null", "/dev/zero", "/dev/urandom"])
        self._ruleset = fcntl.fcntl(ruleset, fcntl.F_DUPFD_CLOEXEC, FAILURES + 1)  # beyond what an episode takes

    def prepare(self, limits: dict[str, Any]) -> Prepared:
        first = [(os.chdir, ("/",)), (landlock.restrict, (self._ruleset,))]
        return Prepared(limits, first, [*_give_up_rights(limits, own_ids=self.own_ids), (_install_lone_filter, ())])

    def fork(self) -> int:
        return fork()


def take(steps: list[Step], key: int) -> None:
    """In the child: the steps, one after another. Where one fails, "KEY why" goes to FAILURES, and nothing is served.

    No tool can say so in an episode's stead: FAILURES is closed before any of it runs.
    """
    try:
        for step in steps:
            _do(*step)
    except BaseException as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        os.write(FAILURES, f"{key} {why}".encode()[:LINE_BYTES] + b"\n")
        os._exit(1)


def attempt(isolation: Isolation) -> str | None:
    """Isolate a throw-away child; None, or why that failed, so that a jail which cannot isolate never serves."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            fd = theirs.fileno()  # for both: what it says is its failure, or "ok"
            steps = isolation.steps(isolation.prepare(TRIAL_LIMITS), fd, fd)
            try:
                pid = isolation.fork()
            except OSError as error:
                return f"fork into a namespace: {error}"
            if pid == 0:
                try:
                    take(steps, 0)
                    episode_socket().send(b"ok")
                finally:
                    os._exit(0)
        said = ours.recv(2 * LINE_BYTES).decode(errors="replace").removeprefix("0 ").strip()
    _, status = os.waitpid(pid, 0)
    return None if said == "ok" and status == 0 else said or f"the trial episode ended with wait status {status}"


def episode_socket() -> socket.SocketType:
    """An episode's, after its steps."""
    return socket.SocketType(*SOCKET_KIND, SOCKET)


def _become(uid: int) -> list[Step]:
    return [(os.setgroups, ([],)), (os.setresgid, (uid, uid, uid)), (os.setresuid, (uid, uid, uid))]


def _give_up_rights(limits: dict[str, Any], *, own_ids: bool) -> list[Step]:
    """The process group, which kill(0) reaches across pid namespaces, and which may be all of one user; capabilities,
    also those that an exec could bring back; resources beyond the limits; life after the zygote's."""
    return [
        (os.setsid, ()),
        (_libc.capset, (struct.pack("=II", CAPABILITY_VERSION_3, 0), bytes(24))),
        *((resource.setrlimit, bounds) for bounds in rlimits.bounds(limits, own_uid=own_ids)),
        (_libc.prctl, (PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)),  # after setresuid, which clears it
    ]


def _install_lone_filter() -> None:
    """Made in the child, for it names its pid."""
    _do(*seccomp.install(seccomp.lone_filter(os.uname().machine, os.getpid())))


def _can_become(uid: int) -> bool:
    """Tried, as there is no /proc to read a map of ids from."""
    pid = os.fork()
    if pid == 0:
        try:
            for step in _become(uid):
                _do(*step)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def _do(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    if function(*arguments) == -1:  # a C function says so; Python's own raise
        raise _error(f"{function.__name__}{arguments}")


def _error(what: str) -> OSError:
    """Of the C library call that has just failed."""
    code = ctypes.get_errno()
    return OSError(code, f"{what}: {os.strerror(code)}")
