"""Landlock: a process gives up the file system but for a few paths, without a namespace and without being root.

Source: the kernel's Documentation/userspace-api/landlock.rst. What Landlock does not cover (metadata: stat, chmod,
chown, times, extended attributes) seccomp.py takes away where this is all there is.
Runs inside the jail and in its probe. Standard library only.
"""

import ctypes
import os
import struct

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
GET_VERSION, PATH_BENEATH = 1, 1
LEAST_VERSION = 3  # below it, truncate(2) is not covered
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
FS_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}  # from this version on, so many kinds of access to files are known
NET_SINCE, NET_RIGHTS = 4, 0b11  # binding and connecting TCP
SCOPES_SINCE, SCOPES = 6, 0b11  # abstract sockets, and signals, of processes outside
READ = EXECUTE | READ_FILE | READ_DIR
PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """Of this kernel; 0 when it has no Landlock, or does not let us."""
    return max(0, _libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(GET_VERSION)))


def ruleset(readable: list[str], writable: list[str]) -> int:
    """A descriptor of the rule that only these files and folders exist; OSError for a kernel too old.

    readable: with all below them. writable: files, such as devices; nothing can be made anywhere.
    """
    known = version()
    if known < LEAST_VERSION:
        raise OSError(f"Landlock {LEAST_VERSION} is needed, this kernel has {known or 'none'}")
    files = (1 << max(rights for since, rights in FS_RIGHTS.items() if since <= known)) - 1
    fields = [files]
    if known >= NET_SINCE:
        fields.append(NET_RIGHTS)
    if known >= SCOPES_SINCE:
        fields.append(SCOPES)
    made = _call(CREATE_RULESET, struct.pack(f"={len(fields)}Q", *fields), ctypes.c_size_t(8 * len(fields)), 0)
    for paths, rights in ((readable, READ), (writable, READ_FILE | WRITE_FILE)):
        for path in paths:
            _allow(made, path, rights)
    return made


def restrict(descriptor: int) -> None:
    """Put the rule on this process and all it starts. Cannot be undone."""
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    _call(RESTRICT_SELF, descriptor, 0)


def _allow(descriptor: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # /lib64 and the like, where a distribution has none
    try:
        if not os.path.isdir(f"{path}/."):
            rights &= ~READ_DIR
        _call(ADD_RULE, descriptor, PATH_BENEATH, struct.pack("=Qi", rights, fd), 0)
    finally:
        os.close(fd)


def _call(number: int, *arguments: object) -> int:
    result = _libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"landlock (system call {number}): {os.strerror(ctypes.get_errno())}")
    return result
