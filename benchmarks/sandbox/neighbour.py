"""What a well-behaved episode notices of others that spin: its calls, on an idle machine and beside them."""

from dataclasses import dataclass

from benchmarks.sandbox import tools
from benchmarks.sandbox.driver import Driven, drive_one
from benchmarks.sandbox.figures import Claim, Measured
from benchmarks.sandbox.report import say
from recall_env.sandbox import JailPool, Limits

GOAL = 2.0  # times idle
PAUSES_S = {"call after call": 0.0, "calls 5 ms apart": 0.005}  # the second is how a model calls: after a while
SPIN_LIMITS = Limits(call_timeout_s=110.0, cpu_s=600)  # beyond both parts of the measure


@dataclass(frozen=True)
class Size:
    spinning: int = 32
    duration_s: float = 10.0  # of each rhythm, idle and not
    warm_s: float = 1.0


QUICK = Size(duration_s=2.0, warm_s=0.2)


def measure(size: Size) -> Measured:
    measured = Measured()
    pool = JailPool()
    try:
        benign = pool.open(tools.SOURCE)
        idle = _rhythms(benign, size)
        spinning = [pool.open(tools.HANGING, limits=SPIN_LIMITS) for _ in range(size.spinning)]
        for session in spinning:
            session.begin("spin", {})
        beside = _rhythms(benign, size)
        if stopped := [result for session in spinning if (result := session.advance()) is not None]:
            raise RuntimeError(f"{len(stopped)} episodes stopped spinning, the first with {stopped[0]}")
    finally:
        pool.close()
    for rhythm in PAUSES_S:
        for state, driven in (("idle", idle[rhythm]), (f"beside {size.spinning} spinning", beside[rhythm])):
            measured.add(f"{rhythm}, {state}, p50", driven.ms(50), "ms")
            measured.add(f"{rhythm}, {state}, p99", driven.ms(99), "ms")
            measured.add(f"{rhythm}, {state}, rate", driven.rate, "calls/s")
            say("neighbour", f"{rhythm}, {state}: p50 {driven.ms(50):.3f} ms, p99 {driven.ms(99):.2f} ms")
        for percent, goal in ((50, GOAL), (99, None)):
            measured.claims.append(
                Claim(f"beside {size.spinning} spinning, {rhythm}, p{percent}", beside[rhythm].ms(percent), "ms",
                      idle[rhythm].ms(percent), "idle", "at most", goal, "ratio")
            )  # fmt: skip
    return measured


def _rhythms(session, size: Size) -> dict[str, Driven]:
    drive_one(session, size.warm_s)
    return {rhythm: drive_one(session, size.duration_s, pause_s) for rhythm, pause_s in PAUSES_S.items()}
