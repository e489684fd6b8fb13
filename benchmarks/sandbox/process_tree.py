"""What jails leave on the machine: their processes, descriptors, memory and cgroup folders, read from the kernel."""

import os
from pathlib import Path
from typing import NamedTuple

from recall_env.sandbox import cgroups

MB = 1_000_000


class Jails(NamedTuple):
    """Pids below this process: an nsjail's child is its zygote, and the zygote's children are episodes."""

    nsjails: list[int]  # none on the ladder's rungs without namespaces
    zygotes: list[int]
    episodes: list[int]


def jails() -> Jails:
    own = children(os.getpid())
    nsjails = [pid for pid in own if name(pid) == "nsjail"]
    zygotes = [child for pid in nsjails for child in children(pid)] + [pid for pid in own if _is_zygote(pid)]
    return Jails(nsjails, zygotes, [child for pid in zygotes for child in children(pid)])


def _is_zygote(pid: int) -> bool:
    try:
        return any(word.endswith(b"/zygote.py") for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"))
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """Of all threads of a process; zombies too, until they are reaped. Empty when it is gone."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def descendants(pid: int) -> list[int]:
    found, unseen = [], [pid]
    while unseen:
        below = children(unseen.pop())
        found += below
        unseen += below
    return found


def name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) - 1  # the listing's own


def rss_mb(pid: int | str = "self") -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def pss_mb(pid: int) -> float:
    """Its memory, with what it shares divided among those who share it."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / MB
    raise ValueError(f"no Pss in /proc/{pid}/smaps_rollup")


def available_mb() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024 / MB


class Charge(NamedTuple):
    """Memory of a jail's cgroup and the bound of it, in megabytes."""

    used_mb: float
    limit_mb: float


def cgroup_folders() -> list[Path]:
    """Of this process's jails."""
    return [folder for parent in cgroups.parents() for folder in parent.glob(f"{cgroups.PREFIX}{os.getpid()}-*")]


def charges() -> list[Charge]:
    """One a jail; none where this machine has no memory cgroups for them."""
    found = []
    for folder in cgroup_folders():
        for used, limit in (("memory.usage_in_bytes", "memory.limit_in_bytes"), ("memory.current", "memory.max")):
            if (folder / used).exists():
                bound = (folder / limit).read_text().strip()
                limit_mb = float("inf") if bound == "max" else int(bound) / MB
                found.append(Charge(int((folder / used).read_text()) / MB, limit_mb))
    return found


def charged_mb() -> float | None:
    found = charges()
    return sum(charge.used_mb for charge in found) if found else None
