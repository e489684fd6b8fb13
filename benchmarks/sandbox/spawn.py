"""From `pool.open` to the first answer, beside a bare fork of the same process and a jail made for the call."""

import time
from dataclasses import dataclass
from typing import Any

from benchmarks.sandbox import floors, process_tree, tools
from benchmarks.sandbox.cores import FIRST, on
from benchmarks.sandbox.driver import expect
from benchmarks.sandbox.figures import Claim, Measured, percentile
from benchmarks.sandbox.report import say
from recall_env.sandbox import JailPool

GOAL = 3.0  # times the fork
WARM = 5
SMALL = (tools.SMALL, tools.SMALL_NAME, tools.SMALL_ARGUMENTS, 3)  # the cost of an episode, not of compiling its source
LARGE = (tools.SOURCE, tools.NAME, tools.ARGUMENTS, tools.VALUE)


@dataclass(frozen=True)
class Size:
    n: int = 300
    cold_n: int = 30


QUICK = Size(n=50, cold_n=5)


def measure(size: Size) -> Measured:
    measured = Measured()
    fork = _add(measured, "bare fork", floors.bare_fork(size.n))
    spawn = _add(measured, "isolated spawn to first answer", _spawns(size.n, SMALL))
    with_source = _add(measured, "the same with the source of 60 lines", _spawns(size.n, LARGE))
    measured.claims += [
        Claim("isolated spawn to first answer, p50", spawn, "ms", fork, "bare fork", "at most", GOAL, "ratio"),
        Claim("the same with the source of 60 lines, p50", with_source, "ms", fork, "bare fork"),
    ]
    if cold := floors.cold_start(size.cold_n):
        cold_ms = _add(measured, "cold nsjail and Python, one call", cold)
        measured.claims.append(Claim("cold nsjail and Python for a call, p50", cold_ms, "ms", spawn, "isolated spawn"))
    return measured


def _add(measured: Measured, name: str, seconds: list[float]) -> float:
    """Its median, in milliseconds."""
    p50 = measured.add(f"{name}, p50", 1000 * percentile(seconds, 50), "ms")
    p99 = measured.add(f"{name}, p99", 1000 * percentile(seconds, 99), "ms")
    say("spawn", f"{name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    return p50


def _spawns(n: int, of: tuple[str, str, dict[str, Any], Any]) -> list[float]:
    """Pool, jail, episodes and caller share one core, as the fork did. The end of one is no part of the next one's
    beginning: each is gone before the clock starts again, as each fork was waited for."""
    source, name, arguments, value = of
    seconds = []
    with on(FIRST):
        pool = JailPool(shards=1)
        try:
            for number in range(WARM + n):
                start = time.perf_counter()
                session = pool.open(source, seed=number)
                expect(session.call(name, arguments), value=value)
                seconds.append(time.perf_counter() - start)
                session.close()
                while process_tree.jails().episodes:
                    time.sleep(0.001)
        finally:
            pool.close()
    return seconds[WARM:]
