"""The measures of the sandbox by name, and one of them in a process of its own."""

from types import ModuleType
from typing import Any

from benchmarks import suite
from benchmarks.sandbox import calls, drop_in, hang, live, neighbour, soak, spawn
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
    return suite.apart(MEASURES[name], name, size)
