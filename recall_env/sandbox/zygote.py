"""PID 1 of a jail: a warm interpreter that forks one isolated episode per request and reports each one's end.

Trusted code, jailed all the same. It reads requests from the pool's control socket, one datagram with the episode's
socket attached, and answers with the episode's pidfd; when an episode ends it sends the wait status. When the control
socket closes it exits, and as PID 1 takes every episode with it. What an episode loses between fork and its first
line is in `isolate`. Standard library only, run as a script inside the jail: `zygote.py CONTROL_FD`.
"""

import array
import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
from typing import Any

import determinism
import guest
import rlimits
import seccomp

PREIMPORTS = (
    "abc argparse ast asyncio base64 binascii bisect calendar cmath collections collections.abc contextlib copy csv "
    "dataclasses datetime decimal difflib enum fractions functools hashlib heapq hmac html inspect io itertools json "
    "math numbers operator queue random re secrets sqlite3 statistics string struct tempfile textwrap threading time "
    "traceback types typing unicodedata uuid warnings zlib"
).split()
SCRATCH = "/tmp"
MS_NOSUID, MS_NODEV = 2, 4
PR_SET_PDEATHSIG, PR_CAPBSET_DROP = 1, 24
CAPABILITY_VERSION_3 = 0x20080522
REQUEST_BYTES = 4096
LAST_UID = 65_535  # where more than one id is mapped

_libc = ctypes.CDLL(None, use_errno=True)


def call_libc(name: str, *arguments: Any) -> int:
    """A C library call; raises OSError with the call's name."""
    result = getattr(_libc, name)(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


class Zygote:
    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.pidfd = os.pidfd_open(os.getpid())
        self.keys: dict[int, int] = {}  # pid of a live episode -> the host's number for it
        self.next_uid = 1
        self.uids = _mapped_ids()
        self.wake, self.waker = socket.socketpair()
        self.wake.setblocking(False)
        self.waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.waker.fileno(), warn_on_full_buffer=False)

    def run(self) -> None:
        """Serve until the host closes the control socket."""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self.wake.fileno() in ready:
                with contextlib.suppress(BlockingIOError):
                    self.wake.recv(4096)
                self.reap()
            if self.control.fileno() in ready and not self.accept():
                return

    def accept(self) -> bool:
        """Take one request; False when the host is gone."""
        payload, ancillary, _, _ = self.control.recvmsg(REQUEST_BYTES, socket.CMSG_SPACE(4))
        if not payload:
            return False
        request = json.loads(payload)
        fds = array.array("i")
        for _, _, raw in ancillary:
            fds.frombytes(raw[: len(raw) - len(raw) % 4])
        try:
            pid = self.fork(fds[0], request)
        except OSError as error:
            self.tell({"refused": request["key"], "why": str(error)})
        else:
            self.keys[pid] = request["key"]
            pidfd = os.pidfd_open(pid)
            self.tell({"opened": request["key"]}, pidfd)
            os.close(pidfd)
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def fork(self, fd: int, request: dict[str, Any]) -> int:
        """Fork an episode into a pid namespace of its own, as its PID 1, and give its pid."""
        uid = self.take_uid() if self.uids else None
        os.unshare(os.CLONE_NEWPID)
        try:
            pid = os.fork()
            if pid == 0:
                become_episode(fd, request, uid)
        finally:
            # Without the way back, a second unshare in this process is EINVAL.
            os.setns(self.pidfd, os.CLONE_NEWPID)
        return pid

    def take_uid(self) -> int:
        uid = self.next_uid
        self.next_uid = uid % (self.uids or 1) + 1
        return uid

    def reap(self) -> None:
        while self.keys:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            key = self.keys.pop(pid)
            self.tell({"ended": key, "wait_status": status, "cpu_s": usage.ru_utime + usage.ru_stime})

    def tell(self, frame: dict[str, Any], fd: int | None = None) -> None:
        ancillary = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        self.control.sendmsg([json.dumps(frame).encode()], ancillary)


def become_episode(fd: int, request: dict[str, Any], uid: int | None) -> None:
    """In the child: isolate, serve, exit. Never returns into the zygote's loop."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        guest.run_to_end(isolate(fd, request["limits"], uid), request["seed"], request["limits"])
    finally:
        os._exit(1)


def isolate(fd: int, limits: dict[str, Any], uid: int | None) -> socket.socket:
    """Give up everything an episode does not need, in the one order that works; its socket, as descriptor 3.

    uid: the user id to become, or None where only one id is mapped (an unprivileged user's namespace).
    """
    os.setsid()  # kill(0) reaches the process group across pid namespaces, and one user's episodes share an id
    os.unshare(os.CLONE_NEWNS | os.CLONE_NEWIPC | os.CLONE_NEWUTS)
    options = f"size={limits['tmpfs_bytes']},nr_inodes={limits['tmpfs_inodes']},mode=0777".encode()
    call_libc("mount", b"scratch", SCRATCH.encode(), b"tmpfs", MS_NOSUID | MS_NODEV, options)
    os.chdir(SCRATCH)
    for target in (1, 2):
        os.dup2(0, target)
    os.dup2(fd, 3)  # 0 to 2 are open, so `fd` is 3 or above and this cannot close it
    os.closerange(4, 1 << 20)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    drop_capabilities()
    rlimits.apply(limits, own_uid=uid is not None)
    call_libc("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # after setresuid, which clears it
    seccomp.install(seccomp.episode_filter(os.uname().machine))
    return socket.socket(fileno=3)


def drop_capabilities() -> None:
    """None left, and none that an exec could bring back; becoming a plain user has already emptied the sets."""
    header = struct.pack("=II", CAPABILITY_VERSION_3, 0)
    call_libc("capset", header, bytes(24))


def _mapped_ids() -> int:
    """How many user ids this jail has beside 0. Tried, as there is no /proc to read the map from."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(LAST_UID, LAST_UID, LAST_UID)
            os._exit(0)
        finally:
            os._exit(1)
    return LAST_UID if os.waitpid(pid, 0)[1] == 0 else 0


def try_isolation() -> str | None:
    """Isolate a throw-away child; None, or why that failed, so that a jail which cannot isolate never serves."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    own_pidfd = os.pidfd_open(os.getpid())
    limits = {
        "memory_bytes": 1 << 29, "open_files": 64, "file_bytes": 1 << 20, "cpu_s": 10, "processes": 16,
        "tmpfs_bytes": 1 << 20, "tmpfs_inodes": 64,
    }  # fmt: skip
    uids = _mapped_ids()
    try:
        os.unshare(os.CLONE_NEWPID)
    except OSError as error:
        return f"unshare(CLONE_NEWPID): {error}"
    pid = os.fork()
    if pid == 0:
        try:
            isolate(theirs.fileno(), limits, uids or None).send(b"ok")
        except BaseException as error:
            theirs.send(f"{type(error).__name__}: {error}".encode()[:500])
        finally:
            os._exit(0)
    os.setns(own_pidfd, os.CLONE_NEWPID)
    os.close(own_pidfd)
    theirs.close()
    with ours:
        said = ours.recv(1000).decode()
    _, status = os.waitpid(pid, 0)
    return None if said == "ok" and status == 0 else said or f"the trial episode ended with wait status {status}"


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    os.environ.clear()
    for name in PREIMPORTS:
        importlib.import_module(name)
    determinism.install()
    problem = try_isolation()
    sys.path.pop(0)  # this folder: its files are not for tools
    zygote = Zygote(control)
    zygote.tell({"ready": problem is None, "why": problem, "unique_uids": zygote.uids > 0})
    gc.collect()
    gc.freeze()
    zygote.run()


if __name__ == "__main__":
    main()
