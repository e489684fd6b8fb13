"""Cgroup folders for jails: bounds on the memory and the processes of all episodes of a jail together, and one share of
the processor for all of them: a thousand that spin then take as much from the host as one would.

A pool makes the folder and launch.py joins it, so nsjail's own cgroup code is not used (it needs parents that exist,
and leaves folders behind when it is killed). Version 1 (a folder per controller) and 2 (one folder) both work where
we may write; where we may not, the jail goes without, and the limits of single episodes still hold.
"""

import os
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
SELF = Path("/proc/self/cgroup")
PREFIX = "recall-"
CONTROLLERS = ("memory", "pids", "cpu")
PIDS = 16_384  # processes and threads of one jail
MEMORY_FRACTION = 0.8  # of the memory there is, for all jails of a pool together
REMOVE_TIMEOUT_S = 5.0


def make(name: str, share: float) -> list[Path]:
    """Folders with limits set, to be joined by writing to their cgroup.procs. Raises OSError when none can be had.

    share: of what a pool may use, this jail's part.
    """
    sweep()
    memory, pids = str(int(memory_bytes() * MEMORY_FRACTION * share)), str(PIDS)
    settings = {  # the processor's share stays what every group has
        "v1 memory": ("memory.limit_in_bytes", memory),
        "v1 pids": ("pids.max", pids),
        "v2 memory": ("memory.max", memory),
        "v2 pids": ("pids.max", pids),
    }
    made: list[Path] = []
    try:
        for parent, controllers in parents().items():
            folder = parent / f"{PREFIX}{name}"
            folder.mkdir()
            made.append(folder)
            for controller in controllers:
                if controller in settings:
                    file, value = settings[controller]
                    (folder / file).write_text(value)
    except OSError:
        remove(made)
        raise
    if not made:
        raise FileNotFoundError(f"no cgroup with a controller for {', '.join(CONTROLLERS)} can be written here")
    return made


def parents() -> dict[Path, list[str]]:
    """Where folders can be made, and which limits they would have there."""
    found: dict[Path, list[str]] = {}
    if not SELF.exists():  # a kernel without any
        return found
    for line in SELF.read_text().splitlines():
        _, names, path = line.split(":", 2)
        if not names:  # version 2: a folder with processes of its own hands nothing down, so look further up too
            own = _own_or_top(ROOT, path)
            for folder in (own, *own.parents):
                delegated = folder / "cgroup.subtree_control"
                controllers = delegated.read_text().split() if delegated.exists() else []
                usable = [f"v2 {name}" for name in CONTROLLERS if name in controllers]
                if usable and os.access(folder, os.W_OK):
                    found[folder] = usable
                    break
        for name in set(CONTROLLERS) & set(names.split(",")):
            folder = _own_or_top(ROOT / name, path)
            if os.access(folder, os.W_OK):
                found.setdefault(folder, []).append(f"v1 {name}")
    return found


def lacking() -> tuple[list[str], str]:
    """The controllers that no jail gets here, and the command that would change that; root's, and harmless twice."""
    had = {name.split()[1] for names in parents().values() for name in names}
    names = [name for name in CONTROLLERS if name not in had]
    offered = ROOT / "cgroup.controllers"
    if not names or not SELF.exists():
        return names, ""
    if offered.exists():
        return names, _hand_down([name for name in names if name in offered.read_text().split()])
    mounted = [name for name in CONTROLLERS if (ROOT / name).is_dir()]
    if not mounted:
        return names, f"mount -t cgroup2 none {ROOT}"
    return names, " && ".join(
        f"mount -o remount,rw {ROOT / name}" if name in mounted else
        f"mkdir {ROOT / name} && mount -t cgroup -o {name} none {ROOT / name}"
        for name in names
    )  # fmt: skip


def _hand_down(names: list[str]) -> str:
    """The command by which folders of version 2 have these controllers from the top down to where jails' are made."""
    if not names:  # this kernel, or whoever runs this container, gives none of them
        return ""
    own = _own_or_top(ROOT, _path_of_version_2())
    place = next((folder for folder, had in parents().items() if had[0].startswith("v2")), None)
    place = place or (own if own == ROOT else own.parent)  # a folder of processes hands nothing down
    chain = [folder for folder in (ROOT, *reversed(place.parents)) if folder.is_relative_to(ROOT)] + [place]
    files = list(dict.fromkeys(folder / "cgroup.subtree_control" for folder in chain))
    if not all(os.access(file, os.W_OK) for file in files):
        return f"mount -o remount,rw {ROOT} (in a container, start it with a writable {ROOT})"
    command = f"echo '{' '.join(f'+{name}' for name in names)}' | tee {' '.join(map(str, files))}"
    if own == ROOT and (ROOT / "cgroup.type").exists():  # the top of a container: its processes are to move out first
        moved = f"{ROOT}/init/cgroup.procs"
        return f"mkdir -p {ROOT}/init && xargs -rn1 < {ROOT}/cgroup.procs > {moved}; {command}"
    return command


def _path_of_version_2() -> str:
    return next(line.split(":", 2)[2] for line in SELF.read_text().splitlines() if line.startswith("0:"))


def memory_bytes() -> int:
    """What this process may use: the machine's memory, or what a container leaves of it."""
    least = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if not SELF.exists():
        return least
    for line in SELF.read_text().splitlines():
        _, names, path = line.split(":", 2)
        if not names:
            own, top, file = _own_or_top(ROOT, path), ROOT, "memory.max"
        elif "memory" in names.split(","):
            own, top, file = _own_or_top(ROOT / "memory", path), ROOT / "memory", "memory.limit_in_bytes"
        else:
            continue
        for folder in (own, *own.parents):
            if folder.is_relative_to(top) and (folder / file).exists():
                said = (folder / file).read_text().strip()
                least = min(least, int(said)) if said.isdigit() else least
    return least


def _own_or_top(mount: Path, path: str) -> Path:
    """This process's own cgroup under `mount`; its top where, as in most containers, the path is not to be seen."""
    own = mount / path.lstrip("/")
    return own if own.is_dir() else mount


def remove(folders: list[Path]) -> None:
    """Remove them once their processes, which have been told to end, are gone; OSError when some stay for seconds."""
    deadline = time.monotonic() + REMOVE_TIMEOUT_S
    for folder in folders:
        while folder.exists():
            try:
                folder.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.002)


def sweep() -> None:
    """Remove what pools left behind that were killed: folders named after a process that is no more."""
    for parent in parents():
        for folder in parent.glob(f"{PREFIX}*"):
            owner = folder.name.removeprefix(PREFIX).split("-")[0]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                try:
                    folder.rmdir()
                except OSError:
                    continue  # its last process is still on its way out; the next sweep finds it empty
