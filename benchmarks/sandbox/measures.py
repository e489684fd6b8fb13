"""The measures by name, and how one is run: in a process of its own."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from types import ModuleType
from typing import Any

from benchmarks.sandbox import calls, drop_in, hang, live, neighbour, process_tree, soak, spawn
from benchmarks.sandbox.figures import Measured

MEASURES: dict[str, ModuleType] = {  # each has Size, QUICK (a small one) and measure(size)
    "calls": calls,
    "live": live,
    "spawn": spawn,
    "hang": hang,
    "neighbour": neighbour,
    "http": drop_in,
    "soak": soak,
}


def apart(name: str, size: Any) -> Measured:
    """A measure in a fresh process, whose cores, limits, memory and jails are its own. Raises what it raises."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_measure, name, size).result()


def _measure(name: str, size: Any) -> Measured:
    measured = MEASURES[name].measure(size)
    if left := [*process_tree.descendants(os.getpid()), *process_tree.cgroup_folders()]:
        raise RuntimeError(f"it left processes or cgroup folders behind: {left}")
    return measured
