"""The second system-call filter, which an episode puts on itself after isolation; it cannot be taken off again.

The first filter (OUTER_POLICY in jail.py) holds for the whole jail, the zygote included, so it has to leave fork,
namespaces, mounts and user ids alone; this one takes them away. Refused calls fail with EPERM, so that a tool which
tries `os.fork` gets an ordinary exception; a foreign calling convention kills. Calls newer than those we know look
absent, whatever they will be: libraries fall back, and statmount, for one, would tell host paths. Small on purpose:
it is installed once per episode.
Runs inside the jail. Standard library only.
"""

import ctypes
import struct

LD_W_ABS, JEQ, JGE, JSET, RET = 0x20, 0x15, 0x35, 0x45, 0x06
KILL_PROCESS, ALLOW, EPERM, ENOSYS = 0x80000000, 0x7FFF0000, 0x00050001, 0x00050026
NR_AT, ARCH_AT, ARG_AT = 0, 4, 16  # offsets in struct seccomp_data; arguments are 8 bytes each, low half first
CLONE_THREAD = 0x00010000
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
PR_SET_NAME, PR_GET_NAME = 15, 16
X32_BIT = 0x40000000
FIRST_UNKNOWN = 440  # process_madvise; from 424 on, numbers are the same on all architectures

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CLONE = {"x86_64": 56, "aarch64": 220}
PRCTL = {"x86_64": 157, "aarch64": 167}
PRLIMIT64 = {"x86_64": 302, "aarch64": 261}
REFUSED = {  # name: (x86_64, aarch64); None where the architecture does not have it
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143),
    "setresuid": (117, 147), "setresgid": (119, 149), "setfsuid": (122, 151), "setfsgid": (123, 152),
    "setgroups": (116, 159), "capset": (126, 91), "setrlimit": (160, 164), "setsid": (112, 157), "setpgid": (109, 154),
    "socket": (41, 198), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242),
    "connect": (42, 203), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "seccomp": (317, 277),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274), "setpriority": (141, 140), "ioprio_set": (251, 30),
}  # fmt: skip

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def episode_filter(machine: str) -> list[Instruction]:
    """The program for this processor architecture; raises OSError for one that nobody has written numbers for."""
    if machine not in AUDIT_ARCH:
        raise OSError(f"no system-call numbers for {machine}; known: {', '.join(AUDIT_ARCH)}")
    column = list(AUDIT_ARCH).index(machine)
    program = [
        (LD_W_ABS, 0, 0, ARCH_AT),
        (JEQ, 1, 0, AUDIT_ARCH[machine]),
        (RET, 0, 0, KILL_PROCESS),
        (LD_W_ABS, 0, 0, NR_AT),
    ]
    if machine == "x86_64":
        program += [(JGE, 0, 1, X32_BIT), (RET, 0, 0, KILL_PROCESS)]
    program += [(JGE, 0, 1, FIRST_UNKNOWN), (RET, 0, 0, ENOSYS)]
    numbers = sorted(row[column] for row in REFUSED.values() if row[column] is not None)
    for number in numbers:
        program += [(JEQ, 0, 1, number), (RET, 0, 0, EPERM)]
    program += _with_argument(CLONE[machine], 0, (JSET, 1, 0, CLONE_THREAD))
    program += [  # both halves of the pointer: one to a multiple of 4 GiB has nothing in its low half
        (JEQ, 0, 6, PRLIMIT64[machine]),
        (LD_W_ABS, 0, 0, ARG_AT + 8 * 2),
        (JEQ, 0, 2, 0),
        (LD_W_ABS, 0, 0, ARG_AT + 8 * 2 + 4),
        (JEQ, 1, 0, 0),
        (RET, 0, 0, EPERM),
        (RET, 0, 0, ALLOW),
    ]
    program += [
        (JEQ, 0, 5, PRCTL[machine]),
        (LD_W_ABS, 0, 0, ARG_AT),
        (JEQ, 2, 0, PR_SET_NAME),
        (JEQ, 1, 0, PR_GET_NAME),
        (RET, 0, 0, EPERM),
        (RET, 0, 0, ALLOW),
        (RET, 0, 0, ALLOW),
    ]
    return program


def _with_argument(number: int, index: int, allowed_when: Instruction) -> list[Instruction]:
    """Refuse system call `number` unless the low half of an argument passes; other calls go on behind it."""
    return [
        (JEQ, 0, 4, number),
        (LD_W_ABS, 0, 0, ARG_AT + 8 * index),
        allowed_when,
        (RET, 0, 0, EPERM),
        (RET, 0, 0, ALLOW),
    ]


def install(program: list[Instruction]) -> None:
    """Put `program` on the calling thread and all it starts. Needs no_new_privs, which nsjail sets."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    memory = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(memory)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")
