"""Calls per second of one core with everything on it, and their latency, beside ReCall's server core."""

from dataclasses import dataclass
from functools import partial

from benchmarks.sandbox import clients, floors, tools
from benchmarks.sandbox.cores import FIRST, LAST, on
from benchmarks.sandbox.driver import Driven, drive, drive_one, median_round
from benchmarks.sandbox.figures import Claim, Measured
from benchmarks.sandbox.report import say
from benchmarks.sandbox.servers import recall_server
from recall_env.sandbox import JailPool

GOALS = {"fresh": 5.0, "stateful": 10.0}  # times ReCall's server core
FLOORS = {"fresh": "re-executed in process", "stateful": "live dict in process"}


@dataclass(frozen=True)
class Size:
    duration_s: float = 4.0  # of a round of each mode and number in flight
    rounds: int = 3  # the median one counts, of ReCall's server too
    warm_s: float = 1.0
    in_flight: tuple[int, ...] = (1, 8, 64)
    clients: tuple[int, ...] = (1, 8)
    floor_n: int = 5000


QUICK = Size(duration_s=0.5, warm_s=0.2, floor_n=500)


def measure(size: Size) -> Measured:
    measured = Measured()
    baseline = _baseline(size, measured)
    core_floors = floors.in_process(size.floor_n) | {"echo": floors.echo(size.floor_n)}
    for name, seconds in core_floors.items():
        measured.add(f"floor, {name}", seconds * 1e6, "us")
    for mode, goal in GOALS.items():
        runs = {count: _mode(mode, count, size) for count in size.in_flight}
        for count, driven in runs.items():
            _add(measured, f"{mode}, {count} in flight", driven)
        measured.series[f"{mode} p50_ms"] = [driven.ms(50) for driven in runs.values()]
        measured.series[f"{mode} p99_ms"] = [driven.ms(99) for driven in runs.values()]
        best = max(driven.rate for driven in runs.values())
        measured.add(f"{mode}, best", best, "calls/s")
        measured.claims.append(
            Claim(f"calls a second of one core, {mode}", best, "calls/s", baseline, "ReCall's server core",
                  "at least", goal, "ratio")
        )  # fmt: skip
        floor_us = 1e6 * (core_floors[FLOORS[mode]] + core_floors["echo"])
        one = 1000 * min(driven.ms(50) for driven in runs.values())
        measured.claims.append(
            Claim(f"p50 of a call, {mode}", one, "us", floor_us, f"{FLOORS[mode]} + echo")
        )  # fmt: skip
    measured.series["in flight"] = list(size.in_flight)
    return measured


def _baseline(size: Size, measured: Measured) -> float:
    """ReCall's server on one core, its client on another one (where there is one): its best rate."""
    rates = []
    with recall_server(FIRST) as port, on(LAST):
        for count in size.clients:
            clients.load(clients.keep_alive, port, count, size.warm_s)
            driven = median_round(size.rounds, partial(clients.load, clients.keep_alive, port, count, size.duration_s))
            rates.append(_add(measured, f"ReCall's server, {count} keep-alive", driven))
    if FIRST == LAST:
        measured.notes.append("one core only: ReCall's client shared it with the server")
    return max(rates)


def _mode(mode: str, in_flight: int, size: Size) -> Driven:
    with on(FIRST):  # pool, jail, episodes and this thread
        pool = JailPool(shards=1)
        try:
            sessions = [pool.open(tools.SOURCE, mode=mode) for _ in range(in_flight)]
            run = partial(drive, sessions, in_flight) if in_flight > 1 else partial(drive_one, sessions[0])
            run(size.warm_s)
            return median_round(size.rounds, partial(run, size.duration_s))
        finally:
            pool.close()


def _add(measured: Measured, name: str, driven: Driven) -> float:
    measured.add(f"{name}, p50", driven.ms(50), "ms")
    measured.add(f"{name}, p99", driven.ms(99), "ms")
    say("calls", f"{name}: {driven.rate:,.0f} calls/s, p50 {driven.ms(50):.3f} ms, p99 {driven.ms(99):.3f} ms")
    return measured.add(name, driven.rate, "calls/s")
