"""An episode's rlimits. Runs inside the jail, and in an unjailed episode's process. Standard library only."""

import resource
from typing import Any


def apply(limits: dict[str, Any], *, own_uid: bool = False) -> None:
    """Set them, soft and hard, on this process. own_uid: the user id belongs to this episode alone, so that the
    kernel's count of processes (per user id, threads included) is the episode's own."""
    bounds = {
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
        bounds[resource.RLIMIT_NPROC] = limits["processes"]
    for which, bound in bounds.items():
        _, hard = resource.getrlimit(which)
        if hard != resource.RLIM_INFINITY:
            bound = min(bound, hard)
        resource.setrlimit(which, (bound, bound))
