"""Thousands of episodes alive at once: how fast they open, what they weigh, and whether calls slow down."""

import os
import resource
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.sandbox import process_tree, tools
from benchmarks.sandbox.cores import CORES
from benchmarks.sandbox.driver import drive
from benchmarks.sandbox.figures import Claim, Measured
from benchmarks.sandbox.report import say
from recall_env.sandbox import JailPool

OPEN_GOAL_S, MEMORY_GOAL_GB = 2.0, 2.2  # of a thousand
GROWTH_GOAL = 1.1  # times what one costs at the first step: equal, but for the noise
KEEP_MB = 2000  # of MemAvailable; growing stops above it
KEEP_FRACTION = 0.9  # of a jail's own bound
DESCRIPTORS_EACH, DESCRIPTORS_BESIDE = 2, 512
PSS_SAMPLE = 50
WARM_EACH = 2  # episodes for each jail of a pool


@dataclass(frozen=True)
class Size:
    first: int = 1000
    steps: tuple[int, ...] = (1000, 5000, 10_000)
    openers: int = 8
    batch: int = 100
    in_flight: int = 8
    duration_s: float = 10.0


QUICK = Size(first=200, steps=(50, 100, 200), duration_s=1.0)


@dataclass(frozen=True)
class Point:
    """What it costs at one number of live episodes."""

    live: int
    open_ms: float  # each, since the point before
    charged_mb: float  # each, of the jails' memory cgroups (PSS where there are none)
    pss_mb: float  # each
    rate: float  # calls a second, round robin over all
    p99_ms: float
    first_round: float  # calls a second of the first call to each


def measure(size: Size) -> Measured:
    measured = Measured()
    allow_descriptors(max(size.first, *size.steps))
    _first(size, measured)
    points = _grow(size, measured)
    for point in points:
        at = f"{point.live} live"
        measured.add(f"{at}, opening one", point.open_ms, "ms")
        measured.add(f"{at}, charged each", point.charged_mb, "MB")
        measured.add(f"{at}, PSS each", point.pss_mb, "MB")
        measured.add(f"{at}, call rate", point.rate, "calls/s")
        measured.add(f"{at}, p99 of a call", point.p99_ms, "ms")
        measured.add(f"{at}, call rate of the first round", point.first_round, "calls/s")
    measured.series = {field: [asdict(point)[field] for point in points] for field in Point.__annotations__}
    few, many = points[0], points[-1]
    base = f"at {few.live}"
    memory, opening = f"memory of one at {many.live:,} live", f"opening one at {many.live:,} live"
    measured.claims += [
        Claim(memory, many.charged_mb, "MB", few.charged_mb, base, "at most", GROWTH_GOAL, "ratio"),
        Claim(opening, many.open_ms, "ms", few.open_ms, base),
        Claim(f"call rate at {many.live:,} live", many.rate, "calls/s", few.rate, base),
    ]
    return measured


def _first(size: Size, measured: Measured) -> None:
    """The default pool, as a trainer has it: of one source, as of a group's, and each of its own."""
    opened_s, charged = _opened(size, distinct=False)
    distinct_s, _ = _opened(size, distinct=True)
    measured.add(f"opening {size.first}", opened_s, "s")
    measured.add(f"opening {size.first} of as many sources", distinct_s, "s")
    say("live", f"{size.first} opened in {opened_s:.2f} s ({distinct_s:.2f} s of as many sources), "
        f"{charged or 0:,.0f} MB charged")  # fmt: skip
    part = size.first / 1000
    what = f"{size.first:,} live episodes"
    gb = None if charged is None else measured.add(f"charged for {size.first}", charged / 1000, "GB")
    measured.claims += [
        Claim(f"{what}, opened", opened_s, "s", goal=OPEN_GOAL_S * part),
        Claim(f"{what}, each of a source of its own, opened", distinct_s, "s"),
        Claim(f"{what}, memory charged", gb, "GB", goal=round(MEMORY_GOAL_GB * part, 3)),
    ]
    if charged is None:
        measured.notes.append("no memory cgroups here: charged memory is PSS")


def _opened(size: Size, *, distinct: bool) -> tuple[float, float | None]:
    """Seconds to open all of them, and the MB charged for them."""
    pool = JailPool()
    try:
        warm(pool)
        start = time.perf_counter()
        sessions = open_many(pool, size.first, size.openers, distinct=distinct)
        opened_s, charged = time.perf_counter() - start, process_tree.charged_mb()
        del sessions
    finally:
        pool.close()
    return opened_s, charged


def _grow(size: Size, measured: Measured) -> list[Point]:
    """Step by step to the most that this machine's memory, and the jails' own bounds, let live."""
    pool, sessions, points = JailPool(), [], []
    try:
        warm(pool)
        base_mb = process_tree.charged_mb()
        for step in size.steps:
            had, start, full = len(sessions), time.perf_counter(), None
            while len(sessions) < step and (full := obstacle()) is None:
                sessions += open_many(pool, min(size.batch, step - len(sessions)), size.openers)
            opened_s = time.perf_counter() - start
            if len(sessions) > had:
                points.append(_point(sessions, 1000 * opened_s / (len(sessions) - had), base_mb, size))
                say("live", "{live} live: {open_ms:.2f} ms to open one, {charged_mb:.2f} MB each, "
                    "{rate:,.0f} calls/s".format(**asdict(points[-1])))  # fmt: skip
            if full is not None:
                measured.notes.append(f"stopped growing at {len(sessions)} live: {full}")
                break
    finally:
        pool.close()
    if not points:
        raise RuntimeError(measured.notes[-1])
    return points


def _point(sessions: list[Any], open_ms: float, base_mb: float | None, size: Size) -> Point:
    first = drive(sessions, size.in_flight, 0.0, least=len(sessions))
    steady = drive(sessions, size.in_flight, size.duration_s)
    episodes = process_tree.jails().episodes
    pss_mb = statistics.fmean(map(process_tree.pss_mb, episodes[:: max(1, len(episodes) // PSS_SAMPLE)]))
    charged_mb = process_tree.charged_mb()
    each_mb = pss_mb if charged_mb is None or base_mb is None else (charged_mb - base_mb) / len(sessions)
    return Point(len(sessions), open_ms, each_mb, pss_mb, steady.rate, steady.ms(99), first.rate)


def obstacle() -> str | None:
    """Why no more episodes should be opened here."""
    available_mb = process_tree.available_mb()
    if available_mb < KEEP_MB:
        return f"{available_mb:,.0f} MB of memory are left on this machine"
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if len(os.listdir("/proc/self/fd")) > most - DESCRIPTORS_BESIDE:
        return f"this machine gives a process {most:,} open files, of which an episode takes {DESCRIPTORS_EACH}"
    for charge in process_tree.charges():
        if charge.used_mb > KEEP_FRACTION * charge.limit_mb:
            return f"a jail has used {charge.used_mb:,.0f} MB of its {charge.limit_mb:,.0f}"
    return None


def open_many(
    pool: JailPool, count: int, openers: int = 8, source: str = tools.SOURCE, *, distinct: bool = False
) -> list[Any]:
    """distinct: each episode has a source of its own, which it must compile."""
    with ThreadPoolExecutor(openers) as threads:
        return list(
            threads.map(
                lambda number: pool.open(f"{source}\n# {number}" if distinct else source, seed=number), range(count)
            )
        )


def warm(pool: JailPool) -> None:
    """Every jail of the pool up, and no episode in it."""
    for session in open_many(pool, WARM_EACH * len(CORES)):
        session.close()
    while process_tree.jails().episodes:
        time.sleep(0.01)


def allow_descriptors(episodes: int) -> None:
    """Raise this process's limit of open files to what so many episodes take, or as near as the system lets us."""
    needed = DESCRIPTORS_EACH * episodes + DESCRIPTORS_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, hard)))
        except (OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
