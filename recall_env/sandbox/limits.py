"""Limits: what one episode may use. Not what a whole jail may use (cgroups.py). Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from recall_env.nearest import did_you_mean

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds of one episode. A call that runs into one comes back with a status; its neighbours do not notice."""

    call_timeout_s: float = 5.0  # wall clock of one call, on the host's clock; past it the episode is killed
    load_timeout_s: float = 10.0  # wall clock of loading the source and of setup(state)
    cpu_s: int = 60  # processor time of the whole episode, summed over its threads
    memory_bytes: int = 512 * MIB  # address space; the interpreter itself takes about 60 MiB of it
    processes: int = 16  # threads, main thread included; fork and exec are refused whatever this says
    open_files: int = 64  # open file descriptors
    file_bytes: int = 4 * MIB  # size of one file
    tmpfs_bytes: int = 8 * MIB  # all files in the episode's scratch folder together
    tmpfs_inodes: int = 256  # how many files and folders the scratch folder holds
    output_bytes: int = 16 * KIB  # a result's value as JSON, and what a call prints: each; beyond it is cut
    frame_bytes: int = 256 * KIB  # one message on the wire, either way
    load_bytes: int = 8 * MIB  # source and initial state together, as JSON

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ValueError(f"limits: {name}: expected a number above 0, got {value!r}")
            if not isinstance(value, int) and isinstance(getattr(Limits, name), int):  # as its default is
                raise ValueError(f"limits: {name}: expected a whole number, got {value!r}")
        if self.memory_bytes < 128 * MIB:
            raise ValueError(f"limits: memory_bytes: an interpreter needs 134217728 (128 MiB), got {self.memory_bytes}")
        if self.open_files < 16:
            raise ValueError(f"limits: open_files: an interpreter needs 16, got {self.open_files}")
        needed = 12 * self.output_bytes + 16 * KIB  # value and print, six bytes for a character at worst, and the rest
        if self.frame_bytes < needed:
            raise ValueError(
                f"limits: frame_bytes: a reply may need 12 x output_bytes + 16384 = {needed}, got {self.frame_bytes}"
            )

    def overridden(self, changes: Mapping[str, Any], ceiling: "Limits | None" = None) -> "Limits":
        """These limits with some changed, as a task may ask; ValueError for an unknown name or one above `ceiling`."""
        known = [item.name for item in fields(self)]
        for name in changes:
            if name not in known:
                raise ValueError(f"limits: no limit {name!r}{did_you_mean(name, known)}")
        changed = replace(self, **changes)
        changed.check_ceiling(ceiling or CEILING)
        return changed

    def check_ceiling(self, ceiling: "Limits") -> None:
        """ValueError, naming the first limit that is above the same one of `ceiling`."""
        most = vars(ceiling)
        for name, value in vars(self).items():
            if value > most[name]:
                raise ValueError(f"limits: {name}: the ceiling is {most[name]:g}, got {value:g}")


CEILING = Limits(  # what a task may ask for, unless the operator's pool says otherwise
    call_timeout_s=120.0,
    load_timeout_s=120.0,
    cpu_s=1200,
    memory_bytes=4096 * MIB,
    processes=128,
    open_files=1024,
    file_bytes=256 * MIB,
    tmpfs_bytes=512 * MIB,
    tmpfs_inodes=65_536,
    output_bytes=64 * KIB,
    frame_bytes=1024 * KIB,
    load_bytes=64 * MIB,
)
