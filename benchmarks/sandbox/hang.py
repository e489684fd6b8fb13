"""Every episode hangs, all with one deadline: how long after it until none is left."""

import os
import time
from dataclasses import dataclass

from benchmarks.sandbox import process_tree, tools
from benchmarks.sandbox.driver import outcome
from benchmarks.sandbox.figures import Claim, Measured
from benchmarks.sandbox.live import allow_descriptors, open_many, warm
from benchmarks.sandbox.report import say
from recall_env.sandbox import JailPool, Limits

GOAL_MS = 350.0
LOOK_S = 0.01  # between two counts of those left: each takes 1 ms of a core that they die on
PATIENCE_S = 30.0
WAYS = {"doze": "time.sleep", "spin": "while True"}


@dataclass(frozen=True)
class Size:
    episodes: int = 1000
    deadline_s: float = 4.0  # from the first call sent
    hang_s: float = 2.0  # of these; before it, all calls are sent


QUICK = Size(episodes=100, deadline_s=1.0, hang_s=0.5)


def measure(size: Size) -> Measured:
    measured = Measured()
    allow_descriptors(size.episodes)
    for tool, way in WAYS.items():
        _hang(tool, way, size, measured)
    return measured


def _hang(tool: str, way: str, size: Size, measured: Measured) -> None:
    pool = JailPool(limits=Limits(call_timeout_s=size.deadline_s + PATIENCE_S))
    try:
        warm(pool)
        before = _held()
        zygotes = process_tree.jails().zygotes
        sessions = open_many(pool, size.episodes, source=tools.HANGING)
        deadline = time.monotonic() + size.deadline_s
        for session in sessions:
            session.begin(tool, {"after_s": size.deadline_s - size.hang_s}, deadline - time.monotonic())
        if time.monotonic() > deadline - size.hang_s:
            raise RuntimeError(f"sending {size.episodes} calls took longer than {size.deadline_s - size.hang_s:g} s")
        time.sleep(deadline - time.monotonic())
        _stop(sessions)
        stopped_ms = 1000 * (time.monotonic() - deadline)
        times_ms, left = _watch(zygotes, deadline)
        for session in sessions:
            session.close()
        stray = _stray(before)
    finally:
        pool.close()
    what = f"{size.episodes:,} hung in {way}"
    measured.add(f"{what}, kills sent after", stopped_ms, "ms")
    measured.add(f"{what}, gone after", times_ms[-1], "ms")
    measured.series |= {f"{way}, ms": times_ms, f"{way}, left": left}
    measured.claims += [
        Claim(f"{what}, gone after", times_ms[-1], "ms", goal=GOAL_MS),
        Claim(f"{what}, processes and descriptors left", measured.add(f"{what}, left", stray, ""), "", goal=0.0),
    ]
    say("hang", f"{what}: all gone {times_ms[-1]:.0f} ms after the deadline")


def _stop(sessions: list) -> None:
    """What an event loop does at a deadline: ask every late session for its result, which is a timeout."""
    waiting = sessions
    while waiting:
        results = [(session, outcome(session)) for session in waiting]
        if odd := [result for _, result in results if result is not None and result.status != "timeout"]:
            raise RuntimeError(f"{len(odd)} hung calls came to something else than a timeout, the first to {odd[0]}")
        waiting = [session for session, result in results if result is None]


def _watch(zygotes: list[int], deadline: float) -> tuple[list[float], list[float]]:
    """Milliseconds after the deadline, and how many were left then, until none is: dead and reaped."""
    times_ms, left = [], []
    while not left or left[-1]:
        left.append(sum(len(process_tree.children(zygote)) for zygote in zygotes))
        times_ms.append(round(1000 * (time.monotonic() - deadline), 2))
        if times_ms[-1] > 1000 * PATIENCE_S:
            raise RuntimeError(f"{left[-1]} episodes are left {PATIENCE_S:g} s after their deadline")
        time.sleep(LOOK_S)
    return times_ms, left


def _held() -> tuple[int, int]:
    return len(process_tree.descendants(os.getpid())), process_tree.descriptors()


def _stray(before: tuple[int, int]) -> int:
    """Processes and descriptors that were not there before; a moment is given for the last notices of death."""
    for _ in range(100):
        stray = sum(max(0, now - then) for now, then in zip(_held(), before, strict=True))
        if not stray:
            break
        time.sleep(0.01)
    return stray
