"""The measures by name, and how one is run: in a process of its own."""

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from types import ModuleType
from typing import Any

from benchmarks.sandbox import calls, drop_in, hang, live, neighbour, process_tree, soak, spawn
from benchmarks.sandbox.figures import Claim, Measured

MEASURES: dict[str, ModuleType] = {  # each has Size, QUICK (a small one) and measure(size)
    "calls": calls,
    "live": live,
    "spawn": spawn,
    "hang": hang,
    "neighbour": neighbour,
    "http": drop_in,
    "soak": soak,
}
GONE_S = 20.0  # for the last of thousands of processes


def apart(name: str, size: Any) -> Measured:
    """A measure in a fresh process, whose cores, limits, memory and jails are its own. Raises what it raises."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_measure, name, size).result()


def _measure(name: str, size: Any) -> Measured:
    measured = MEASURES[name].measure(size)
    deadline = time.monotonic() + GONE_S
    while (left := _left()) and time.monotonic() < deadline:
        time.sleep(0.05)
    if left:
        measured.notes.append(f"left behind: {', '.join(left)}")
        measured.claims.append(Claim(f"{name}, left behind", len(left), "", goal=0.0))
    return measured


def _left() -> list[str]:
    """Processes and cgroup folders of this process, which has closed all its pools."""
    processes = [f"process {process_tree.name(pid)}" for pid in process_tree.descendants(os.getpid())]
    return processes + [f"cgroup {folder.name}" for folder in process_tree.cgroup_folders()]
