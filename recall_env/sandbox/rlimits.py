"""An episode's rlimits. Runs inside the jail, and in an unjailed episode's process. Standard library only."""

import resource
from typing import Any


def apply(limits: dict[str, Any]) -> None:
    """Set them, soft and hard, on this process."""
    for which, pair in bounds(limits):
        resource.setrlimit(which, pair)


def bounds(limits: dict[str, Any], *, own_uid: bool = False) -> list[tuple[int, tuple[int, int]]]:
    """What `resource.setrlimit` is to be given, in this process or a child of it. own_uid: the user id will belong to
    one episode alone, so that the kernel's count of processes (per user id, threads included) is the episode's own."""
    wanted = {
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_CPU: limits["cpu_s"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 64,
    }
    if own_uid:
        wanted[resource.RLIMIT_NPROC] = limits["processes"]
    found = []
    for which, bound in wanted.items():
        _, hard = resource.getrlimit(which)
        least = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        found.append((which, (least, least)))
    return found
