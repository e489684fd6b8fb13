"""The first process of a jail: a warm interpreter that forks one isolated episode per request and reports each one's
end.

Trusted code, jailed all the same. It reads requests from the pool's control socket: a datagram "KEY SEED LIMITS",
LIMITS as JSON, with the episode's socket attached. It answers "opened", with the episode's pidfd attached, and "ended",
with the wait status, or instead of either "refused": for want of a process, or of isolation, which the child tells
through a pipe. When the control socket closes it exits, and every episode with it (as PID 1 of its namespace, or by the
signal they asked for). What an episode loses between fork and its first line is in isolation.py. Standard library
only, run as a script inside the jail: `zygote.py CONTROL_FD PLAN_JSON`, PLAN being {"landlock": [readable path, ...] or
null, "first_uid": number or null}.
"""

import sys

# What the imports below would load along, and do well without. Each library costs every fork and every exit some
# 5 us (its five mappings); a tool that wants one of these imports it itself.
RARE = ("ssl", "fcntl", "_uuid", "_statistics")
sys.modules |= dict.fromkeys(RARE)

# ruff: noqa: E402
import _signal  # `signal` itself looks for each number among enumerations, which costs an episode 60 us
import contextlib
import importlib
import json
import os
import select
import signal
import socket
import struct
from typing import Any, NoReturn

import code_cache
import determinism
import guest
import isolation
import sharing
import warm_up

# What tools import often enough to pay for a place in every episode; an import of `hashlib` takes an episode 2.5 ms.
PREIMPORTS = (
    "_strptime abc ast asyncio base64 bisect calendar collections collections.abc concurrent.futures.thread "
    "contextlib copy csv dataclasses datetime decimal difflib enum fractions functools heapq inspect io itertools "
    "json math numbers operator queue random re sqlite3 statistics string struct textwrap threading time traceback "
    "types typing uuid warnings"
).split()
# Also, where Landlock is all there is: as another user than root, an episode may not reach root's own Python any more.
# The rest of what the gate allows, and what is common beside it; any other module is then not found.
PREIMPORTS_OF_LANDLOCK = (
    "argparse binascii bz2 cmath encodings.cp1252 encodings.idna encodings.latin_1 fcntl glob graphlib gzip hashlib "
    "hmac html keyword locale lzma pathlib pickle pprint secrets shutil ssl tempfile unicodedata "
    "xml.etree.ElementTree zipfile zlib zoneinfo"
).split()
REQUEST_BYTES = 4096
NOTICES = 64  # deaths told in one datagram, which shard.py reads 4 KiB of
REST_MS = 3
FD_SPACE = socket.CMSG_SPACE(4)  # of one descriptor
MOST_PREPARED = 64  # limits


class Zygote:
    def __init__(self, control: socket.socket, isolated: isolation.Isolation) -> None:
        self.control, self.isolated = control, isolated
        self.room = memoryview(bytearray(REQUEST_BYTES))
        self.prepared: dict[bytes, isolation.Prepared] = {}  # by limits, as the host writes them
        self.keys: dict[int, int] = {}  # pid of a live episode -> the host's number for it
        self.failures: dict[int, str] = {}  # by key: why an episode that is about to end could not be isolated
        self.failure_reader, self.failure_writer = os.pipe()  # the second is not SOCKET: the first is below it
        os.set_blocking(self.failure_reader, False)
        self.wake, self.waker = socket.socketpair()
        self.wake.setblocking(False)
        self.waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.waker.fileno(), warn_on_full_buffer=False)

    def run(self) -> None:
        """Serve until the host closes the control socket."""
        both, control = select.poll(), select.poll()
        for poll in (both, control):
            poll.register(self.control, select.POLLIN)
        both.register(self.wake, select.POLLIN)
        rests = False  # from reaping: when a thousand die at once, each alone would cost a turn of everybody
        while True:
            if rests:
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
                ready = {fd for fd, _ in control.poll(REST_MS)}
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            else:
                ready = {fd for fd, _ in both.poll()}
            if self.control.fileno() in ready and not self.accept():
                return
            rests = not rests and self.wake.fileno() in ready
            if rests:
                with contextlib.suppress(BlockingIOError):
                    self.wake.recv(4096)
                self.reap()

    def accept(self) -> bool:
        """Take one request; False when the host is gone."""
        size, ancillary, _, _ = self.control.recvmsg_into([self.room], FD_SPACE)
        if not size:
            return False
        key, seed, limits = bytes(self.room[:size]).split(b" ", 2)
        key, seed = int(key), int(seed)
        if not ancillary:
            self.refuse(key, "the zygote has no room for another file descriptor")
            return True
        fd = int.from_bytes(ancillary[0][2], sys.byteorder)
        try:
            prepared = self.prepared.get(limits) or self.prepare(limits)
            steps = self.isolated.steps(prepared, fd, self.failure_writer)
            pid = self.isolated.fork()
            if pid == 0:
                self.become_episode(steps, key, seed, prepared.limits)
            self.keys[pid] = key
            pidfd = os.pidfd_open(pid)  # where there is none, the host closes the socket, and so ends the episode
        except OSError as error:
            self.refuse(key, str(error))
        else:
            self.tell(b'{"opened": %d}' % key, pidfd)
            os.close(pidfd)
        finally:
            os.close(fd)
        return True

    def prepare(self, limits: bytes) -> isolation.Prepared:
        """For episodes of these limits, from now on."""
        if len(self.prepared) == MOST_PREPARED:
            self.prepared.clear()
        prepared = self.prepared[limits] = self.isolated.prepare(json.loads(limits))
        return prepared

    def become_episode(self, steps: list[isolation.Step], key: int, seed: int, limits: dict[str, Any]) -> NoReturn:
        """In the child: isolate, serve, exit. Never returns into the zygote's loop."""
        try:
            _signal.set_wakeup_fd(-1)
            _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
            isolation.take(steps, key)
            guest.run_to_end(isolation.episode_socket(), seed, limits)
        finally:
            os._exit(1)

    def reap(self) -> None:
        ended: list[tuple[int, int, float]] = []
        while self.keys:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid in self.keys:  # a fork that failed half-way has none
                ended.append((self.keys.pop(pid), status, round(usage.ru_utime + usage.ru_stime, 3)))
        self.hear_failures()  # of these, and of some that are yet to die
        told = []
        for each in ended:
            why = self.failures.pop(each[0], None)
            if why is None:
                told.append(each)
            else:
                self.refuse(each[0], f"it could not be isolated: {why}")
        for start in range(0, len(told), NOTICES):
            self.tell(json.dumps({"ended": told[start : start + NOTICES]}).encode())

    def hear_failures(self) -> None:
        said = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                said += os.read(self.failure_reader, 1 << 16)
        for line in said.decode(errors="replace").splitlines():
            key, why = line.split(" ", 1)
            self.failures[int(key)] = why
            self.prepared.clear()  # it may no longer hold: bounds on this very process may have changed

    def refuse(self, key: int, why: str) -> None:
        self.tell(json.dumps({"refused": key, "why": why}).encode())

    def tell(self, frame: bytes, fd: int | None = None) -> None:
        ancillary = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))]
        self.control.sendmsg([frame], ancillary)


def prepare(*, landlock_only: bool) -> None:
    """All that every episode would otherwise do for itself."""
    load(PREIMPORTS)
    for name in RARE:
        del sys.modules[name]
    if landlock_only:
        load(PREIMPORTS_OF_LANDLOCK)
    determinism.install()
    code_cache.install()
    warm_up.play(isolation.TRIAL_LIMITS)


def load(names: list[str]) -> None:
    for name in names:
        with contextlib.suppress(ImportError):  # an interpreter built without SQLite, say
            importlib.import_module(name)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    plan = json.loads(sys.argv[2])
    os.environ.clear()
    prepare(landlock_only=plan["landlock"] is not None)
    guest.hide_our_modules()
    try:
        if plan["landlock"] is None:
            isolated: isolation.Isolation = isolation.Namespaces()
        else:
            isolated = isolation.LandlockOnly(plan["landlock"], plan["first_uid"])
        problem = isolation.attempt(isolated)
    except OSError as error:
        problem = str(error)
    if problem is not None:
        control.send(json.dumps({"ready": False, "why": problem}).encode())
        return
    zygote = Zygote(control, isolated)
    sharing.prepare()
    zygote.tell(json.dumps({"ready": True, "own_ids": isolated.own_ids}).encode())
    zygote.run()


if __name__ == "__main__":
    main()
