"""Inside the jail: what an episode loses between the zygote's fork and its own first line, in the order that works.

Two ways, by what the machine allows. Under nsjail an episode gets namespaces of its own on top of the jail's; without
user namespaces there is no nsjail, and Landlock and one long system-call filter do what they can. The zygote makes one
of them at its start, tries it on a child, and forks every episode through it. Standard library only.
"""

import ctypes
import os
import signal
import socket
import struct
from typing import Any, NoReturn, Protocol

import landlock
import rlimits
import seccomp

GUEST = "/guest"  # where nsjail mounts these files, each of them
SCRATCH = "/tmp"
MS_NOSUID, MS_NODEV, MNT_DETACH = 2, 4, 2
PR_SET_PDEATHSIG = 1
CAPABILITY_VERSION_3 = 0x20080522
LAST_UID = 65_535  # where more than one id is mapped
TRIAL_LIMITS = {  # of episodes that only try things out
    "memory_bytes": 1 << 29, "open_files": 64, "file_bytes": 1 << 20, "cpu_s": 10, "processes": 16,
    "tmpfs_bytes": 1 << 20, "tmpfs_inodes": 64, "output_bytes": 1 << 14, "frame_bytes": 1 << 18,
}  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)
_with_the_interpreter_held = ctypes.PyDLL(None, use_errno=True)  # CDLL would give up its lock around a call


def call_libc(name: str, *arguments: Any) -> int:
    """A C library call; raises OSError with the call's name."""
    result = getattr(_libc, name)(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def fork() -> int:
    """fork(2), and not `os.fork`, whose child first makes every lock of `threading` and `logging` anew and seeds
    `random`: 60 pages of memory that each episode would have to copy. The zygote has one thread and holds no lock, and
    an episode is seeded by determinism.py."""
    pid = _with_the_interpreter_held.fork()
    if pid < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"fork: {os.strerror(code)}")
    return pid


class Isolation(Protocol):
    """How this machine's episodes are set apart."""

    own_ids: bool  # each episode has a user id that nobody else has

    def fork(self) -> int:
        """The pid of the child; 0 in the child, which is to call `isolate` next."""

    def isolate(self, fd: int, limits: dict[str, Any]) -> socket.socket:
        """Give up everything an episode does not need; its socket, which was `fd`, as descriptor 3."""


class Namespaces:
    """Under nsjail: the episode is the first of a pid namespace, with mounts, IPC and a host name of its own."""

    def __init__(self) -> None:
        for name in os.listdir(GUEST):  # read and done with; every episode would have to copy their mounts
            call_libc("umount2", f"{GUEST}/{name}".encode(), MNT_DETACH)
        self.own_ids = _can_become(LAST_UID)
        self._pidfd = os.pidfd_open(os.getpid())
        self._uid = 0
        self._filter = seccomp.Filter(seccomp.episode_filter(os.uname().machine))

    def fork(self) -> int:
        self._uid = self._uid % LAST_UID + 1
        os.unshare(os.CLONE_NEWPID)
        pid = -1
        try:
            pid = fork()
        finally:
            if pid != 0:  # without the way back, a second unshare in this process is EINVAL
                os.setns(self._pidfd, os.CLONE_NEWPID)
        return pid

    def isolate(self, fd: int, limits: dict[str, Any]) -> socket.socket:
        os.unshare(os.CLONE_NEWNS | os.CLONE_NEWIPC | os.CLONE_NEWUTS)
        options = f"size={limits['tmpfs_bytes']},nr_inodes={limits['tmpfs_inodes']},mode=0777".encode()
        call_libc("mount", b"scratch", SCRATCH.encode(), b"tmpfs", MS_NOSUID | MS_NODEV, options)
        os.chdir(SCRATCH)
        _keep_only(fd)
        if self.own_ids:
            _become(self._uid)
        _give_up_rights(limits, own_ids=self.own_ids)
        self._filter.install()
        return socket.socket(fileno=3)


class LandlockOnly:
    """Without namespaces: no files but the interpreter's, no scratch folder, one system-call filter for everything."""

    def __init__(self, readable: list[str], first_uid: int | None) -> None:
        """readable: files and folders of the interpreter. first_uid: as root, of the ids that nobody else has."""
        self.own_ids = first_uid is not None and _can_become(first_uid)
        if os.geteuid() == 0 and not self.own_ids:
            raise OSError("this is root and cannot become anybody else; tools would be root")
        self._first_uid, self._uid = first_uid or 0, 0
        self._ruleset = landlock.ruleset(readable, ["/dev/null", "/dev/zero", "/dev/urandom"])

    def fork(self) -> int:
        self._uid = self._uid % LAST_UID + 1
        return fork()

    def isolate(self, fd: int, limits: dict[str, Any]) -> socket.socket:
        os.chdir("/")
        landlock.restrict(self._ruleset)
        _keep_only(fd)
        if self.own_ids:
            _become(self._first_uid + self._uid)
        _give_up_rights(limits, own_ids=self.own_ids)
        seccomp.Filter(seccomp.lone_filter(os.uname().machine, os.getpid())).install()
        return socket.socket(fileno=3)


def attempt(isolation: Isolation) -> str | None:
    """Isolate a throw-away child; None, or why that failed, so that a jail which cannot isolate never serves."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        pid = isolation.fork()
    except OSError as error:
        return f"fork into a namespace: {error}"
    if pid == 0:
        _report(isolation, theirs)
    theirs.close()
    with ours:
        said = ours.recv(1000).decode()
    _, status = os.waitpid(pid, 0)
    return None if said == "ok" and status == 0 else said or f"the trial episode ended with wait status {status}"


def _report(isolation: Isolation, wire: socket.socket) -> NoReturn:
    try:
        isolation.isolate(wire.fileno(), TRIAL_LIMITS).send(b"ok")
    except BaseException as error:
        wire.send(f"{type(error).__name__}: {error}".encode()[:500])
    finally:
        os._exit(0)


def _keep_only(fd: int) -> None:
    """Descriptors 0 to 2 on /dev/null, `fd` as 3, and no others."""
    for target in (1, 2):
        os.dup2(0, target)
    os.dup2(fd, 3)  # 0 to 2 are open, so `fd` is 3 or above and this cannot close it
    os.closerange(4, 1 << 20)


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _give_up_rights(limits: dict[str, Any], *, own_ids: bool) -> None:
    """The process group, which kill(0) reaches across pid namespaces, and which may be all of one user; capabilities,
    also those that an exec could bring back; resources beyond the limits; life after the zygote's."""
    os.setsid()
    # The zygote may go before others; a plain user's, started under nice, could not get back to 0.
    os.setpriority(os.PRIO_PROCESS, 0, max(0, os.getpriority(os.PRIO_PROCESS, 0)))
    call_libc("capset", struct.pack("=II", CAPABILITY_VERSION_3, 0), bytes(24))
    rlimits.apply(limits, own_uid=own_ids)
    call_libc("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # after setresuid, which clears it


def _can_become(uid: int) -> bool:
    """Tried, as there is no /proc to read a map of ids from."""
    pid = os.fork()
    if pid == 0:
        try:
            _become(uid)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0
