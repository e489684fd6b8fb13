"""The system-call filter that an episode puts on itself after isolation; it cannot be taken off again.

Under nsjail it is the second one: the first (OUTER_POLICY in nsjail_config.py) holds for the whole jail, the zygote
included, so it has to leave fork, namespaces, mounts and user ids alone; `episode_filter` takes them away. Small on
purpose: it is installed once per episode. Without nsjail there is no first one, and `lone_filter` holds all of both,
and what Landlock leaves open. Refused calls fail with EPERM, so that a tool which tries `os.fork` gets an ordinary
exception; a foreign calling convention kills. Calls newer than those we know look absent, whatever they will be:
libraries fall back, and statmount, for one, would tell host paths.
Runs inside the jail. Standard library only.
"""

import ctypes
import struct
from collections.abc import Callable
from typing import Any

LD_W_ABS, JUMP, JEQ, JGE, JSET, RET = 0x20, 0x05, 0x15, 0x35, 0x45, 0x06
KILL_PROCESS, ALLOW, EPERM = 0x80000000, 0x7FFF0000, 0x00050001
NR_AT, ARCH_AT, ARG_AT = 0, 4, 16  # offsets in struct seccomp_data; arguments are 8 bytes each, low half first
CLONE_THREAD = 0x00010000
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
PR_SET_NAME, PR_GET_NAME = 15, 16
AF_UNIX, SO_PEERPIDFD = 1, 77
F_SETOWN, F_SETSIG, F_SETOWN_EX, F_NOTIFY = 8, 10, 15, 1026
X32_BIT = 0x40000000
FIRST_UNKNOWN = 440  # process_madvise; from 424 on, numbers are the same on all architectures

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CLONE = {"x86_64": 56, "aarch64": 220}
PRCTL = {"x86_64": 157, "aarch64": 167}
PRLIMIT64 = {"x86_64": 302, "aarch64": 261}
FCNTL = {"x86_64": 72, "aarch64": 25}
SOCKETPAIR = {"x86_64": 53, "aarch64": 199}
GETSOCKOPT = {"x86_64": 55, "aarch64": 209}
REFUSED = {  # name: (x86_64, aarch64); None where the architecture does not have it
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143),
    "setresuid": (117, 147), "setresgid": (119, 149), "setfsuid": (122, 151), "setfsgid": (123, 152),
    "setgroups": (116, 159), "capset": (126, 91), "setrlimit": (160, 164), "setsid": (112, 157), "setpgid": (109, 154),
    "socket": (41, 198), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242),
    "connect": (42, 203), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "seccomp": (317, 277),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274), "setpriority": (141, 140), "ioprio_set": (251, 30),
    "sched_setaffinity": (203, 122),
}  # fmt: skip

FATAL = {  # as in OUTER_POLICY: nothing but an attack makes them
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "bpf": (321, 280),
    "userfaultfd": (323, 282), "perf_event_open": (298, 241), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "open_by_handle_at": (304, 265), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "swapon": (167, 224), "swapoff": (168, 225),
    "reboot": (169, 142), "syslog": (103, 116), "acct": (163, 89), "quotactl": (179, 60), "iopl": (172, None),
    "ioperm": (173, None), "modify_ldt": (154, None), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "pidfd_getfd": (438, 438), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442),
}  # fmt: skip
REFUSED_ALONE = {  # refused by OUTER_POLICY too, or harmless in namespaces and not without
    "mbind": (237, 235), "move_pages": (279, 239), "migrate_pages": (256, 238), "memfd_create": (319, 279),
    "clock_settime": (227, 112), "settimeofday": (164, 170), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    "sethostname": (170, 161), "setdomainname": (171, 162), "shmget": (29, 194), "shmat": (30, 196),
    "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180), "inotify_init": (253, None),
    "inotify_init1": (294, 26), "fanotify_init": (300, 262), "mknod": (133, None), "mknodat": (259, 33),
    "personality": (135, 92), "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "kcmp": (312, 272), "process_madvise": (440, 440), "sched_setparam": (142, 118),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "utimensat": (280, 88), "futimesat": (261, None), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "setxattrat": (463, 463), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "removexattrat": (466, 466), "file_setattr": (469, 469), "setsockopt": (54, 208),
    "name_to_handle_at": (303, 264), "io_setup": (206, 0), "sync": (162, 81), "syncfs": (306, 267), "flock": (73, 32),
}  # fmt: skip
TGKILL = {"x86_64": 234, "aarch64": 131}
CLONE3, ENOSYS = 435, 0x00050026  # must look absent, or the C library does not fall back to clone

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def episode_filter(machine: str) -> list[Instruction]:
    """What comes on top of OUTER_POLICY; raises OSError for an architecture that nobody has written numbers for."""
    return [*_head(machine), *_refusals(machine, REFUSED, EPERM), *_by_argument(machine)]


def lone_filter(machine: str, pid: int) -> list[Instruction]:
    """All there is to refuse, for the process `pid`, which may signal itself and nobody else."""
    return [
        *_head(machine),
        *_refusals(machine, FATAL, KILL_PROCESS),
        *_refusals(machine, REFUSED | REFUSED_ALONE, EPERM),
        (JEQ, 0, 1, CLONE3),
        (RET, 0, 0, ENOSYS),
        *_with_argument(TGKILL[machine], 0, (JEQ, 1, 0, pid)),
        *_with_argument(SOCKETPAIR[machine], 0, (JEQ, 1, 0, AF_UNIX)),
        *_with_argument(GETSOCKOPT[machine], 2, (JEQ, 0, 1, SO_PEERPIDFD)),
        *_without(FCNTL[machine], 1, (F_SETOWN, F_SETSIG, F_SETOWN_EX, F_NOTIFY)),  # signals to others
        *_by_argument(machine),
    ]


def _head(machine: str) -> list[Instruction]:
    if machine not in AUDIT_ARCH:
        raise OSError(f"no system-call numbers for {machine}; known: {', '.join(AUDIT_ARCH)}")
    program = [
        (LD_W_ABS, 0, 0, ARCH_AT),
        (JEQ, 1, 0, AUDIT_ARCH[machine]),
        (RET, 0, 0, KILL_PROCESS),
        (LD_W_ABS, 0, 0, NR_AT),
    ]
    if machine == "x86_64":
        program += [(JGE, 0, 1, X32_BIT), (RET, 0, 0, KILL_PROCESS)]
    return program


def _refusals(machine: str, table: dict[str, tuple[int | None, int | None]], action: int) -> list[Instruction]:
    column = list(AUDIT_ARCH).index(machine)
    numbers = sorted(row[column] for row in table.values() if row[column] is not None)
    return [
        *((JEQ, len(numbers) - at, 0, number) for at, number in enumerate(numbers)),
        (JUMP, 0, 0, 1),
        (RET, 0, 0, action),
    ]


def _by_argument(machine: str) -> list[Instruction]:
    """The end of a program: calls that are allowed in one form, then everything else."""
    return [
        (JGE, 0, 1, FIRST_UNKNOWN),
        (RET, 0, 0, ENOSYS),
        *_with_argument(CLONE[machine], 0, (JSET, 1, 0, CLONE_THREAD)),
        # To read them. Both halves of the pointer: one to a multiple of 4 GiB has nothing in its low half.
        (JEQ, 0, 6, PRLIMIT64[machine]),
        (LD_W_ABS, 0, 0, ARG_AT + 8 * 2),
        (JEQ, 0, 2, 0),
        (LD_W_ABS, 0, 0, ARG_AT + 8 * 2 + 4),
        (JEQ, 1, 0, 0),
        (RET, 0, 0, EPERM),
        (RET, 0, 0, ALLOW),
        (JEQ, 0, 5, PRCTL[machine]),
        (LD_W_ABS, 0, 0, ARG_AT),
        (JEQ, 2, 0, PR_SET_NAME),
        (JEQ, 1, 0, PR_GET_NAME),
        (RET, 0, 0, EPERM),
        (RET, 0, 0, ALLOW),
        (RET, 0, 0, ALLOW),
    ]


def _with_argument(number: int, index: int, allowed_when: Instruction) -> list[Instruction]:
    """Refuse system call `number` unless the low half of an argument passes; other calls go on behind it."""
    return [
        (JEQ, 0, 4, number),
        (LD_W_ABS, 0, 0, ARG_AT + 8 * index),
        allowed_when,
        (RET, 0, 0, EPERM),
        (RET, 0, 0, ALLOW),
    ]


def _without(number: int, index: int, values: tuple[int, ...]) -> list[Instruction]:
    """Refuse system call `number` where the low half of an argument is one of these."""
    count = len(values)
    return [
        (JEQ, 0, count + 3, number),
        (LD_W_ABS, 0, 0, ARG_AT + 8 * index),
        *((JEQ, count - at, 0, value) for at, value in enumerate(values)),
        (RET, 0, 0, ALLOW),
        (RET, 0, 0, EPERM),
    ]


class _Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.POINTER(ctypes.c_char)))


def install(program: list[Instruction]) -> tuple[Callable[..., int], tuple[Any, ...]]:
    """The call that puts a program on the thread that makes it, and on all it starts: an isolation.Step, put together
    before the fork. It holds what the kernel will read. Needs no_new_privs, which nsjail sets."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    memory = ctypes.create_string_buffer(code, len(code))
    header = _Program(len(program), ctypes.cast(memory, ctypes.POINTER(ctypes.c_char)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return prctl, (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(header), 0, 0)
