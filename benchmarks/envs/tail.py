"""Tools of very different speed: whole episodes through EnvPool, where none waits for another's tool, and in lock-step.

Every call sleeps in its jail for a time drawn from a lognormal distribution, most of them short, a few long. No driver
can be quicker than the longest episode's own calls, nor than all calls divided by how many may be under way: the
larger of the two is the ideal. It knows of no beginning: episodes are measured whole, with the reset and the fork of
each, and again as live ones, which have called before.
"""

import contextlib
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.envs.task import QUESTION
from benchmarks.sandbox import process_tree
from benchmarks.sandbox.figures import Claim, Measured
from benchmarks.sandbox.live import allow_descriptors, warm
from benchmarks.sandbox.report import say
from recall_env.env import SynToolEnv
from recall_env.sandbox import JailPool
from recall_env.task import Task
from recall_env.vector import EnvPool

GOAL = 1.15  # times the ideal
Z99 = 2.3263  # of the standard normal distribution
SOURCE = '''
import time

PRICES = {"lamp": 24.5, "chair": 149.0, "desk": 389.0}


def get_price(item: str, wait_s: float) -> float:
    """The price of an item, from a slow place."""
    time.sleep(wait_s)
    return PRICES[item]
'''
PROPERTIES = {"item": {"type": "string"}, "wait_s": {"type": "number"}}
SCHEMA = {
    "name": "get_price",
    "parameters": {"type": "object", "properties": PROPERTIES, "required": list(PROPERTIES)},
}
OBSERVATION = "<tool_response>\n24.5\n</tool_response>"
SERIES_POINTS = 200
GONE_POLL_S, GONE_WITHIN_S = 0.02, 30


@dataclass(frozen=True)
class Size:
    episodes: int = 1000
    turns: int = 5
    median_s: float = 0.020  # of a call
    p99_s: float = 1.0
    call_timeout_s: float = 60.0  # beyond the longest call that is drawn
    seeds: tuple[int, ...] = (0, 1, 2)
    # Calls under way at once, a thread each: as many as episodes. A call that sleeps takes no processor, so there is
    # nothing to save by letting it wait for a thread, and then the ideal is the longest episode's own time.
    concurrency: int = 1000


QUICK = Size(episodes=60, turns=2, p99_s=0.2, seeds=(0,), concurrency=60)


def measure(size: Size) -> Measured:
    measured = Measured()
    allow_descriptors(size.episodes)
    pool = JailPool()
    try:
        warm(pool)
        for seed in size.seeds:
            _seed(measured, pool, seed, size)
    finally:
        pool.close()
    return measured


def _seed(measured: Measured, pool: JailPool, seed: int, size: Size) -> None:
    waits = latencies(seed, size)
    ideal_s = measured.add(f"seed {seed}, ideal", ideal(waits, size.concurrency), "s")
    measured.add(f"seed {seed}, longest episode", max(map(sum, waits)), "s")
    measured.add(f"seed {seed}, all calls", sum(map(sum, waits)), "s")
    runs = {
        "whole, EnvPool": (alone(waits, pool, size, live=False), GOAL),
        "live, EnvPool": (alone(waits, pool, size, live=True), GOAL),
        "live, lock-step": (lock_step(waits, pool, size), None),
    }
    what = f"{size.episodes:,} episodes of {size.turns} turns, seed {seed}"
    for name, (ends, goal) in runs.items():
        took_s = measured.add(f"seed {seed}, {name}", max(ends), "s")
        say("tail", f"seed {seed}, {name}: {took_s:.2f} s, {took_s / ideal_s:.2f} times the ideal {ideal_s:.2f} s")
        measured.claims.append(Claim(f"{what}, {name}", took_s, "s", ideal_s, "ideal", "at most", goal, "ratio"))
        if seed == size.seeds[0]:
            measured.series[f"{name}, ended at s"] = _thinned(ends)
    if seed == size.seeds[0]:
        measured.series["ideal, ended at s"] = _thinned([sum(turns) for turns in waits])


def latencies(seed: int, size: Size) -> list[list[float]]:
    """Seconds of every call: a row for each episode."""
    draw = random.Random(seed)
    sigma = math.log(size.p99_s / size.median_s) / Z99
    one = lambda: round(draw.lognormvariate(math.log(size.median_s), sigma), 6)  # noqa: E731
    return [[one() for _ in range(size.turns)] for _ in range(size.episodes)]


def ideal(waits: list[list[float]], concurrency: int) -> float:
    """Seconds: the longest chain, or all the work over those who do it, whichever is larger."""
    chains = [sum(turns) for turns in waits]
    return max(max(chains), sum(chains) / concurrency)


def alone(waits: list[list[float]], pool: JailPool, size: Size, *, live: bool) -> list[float]:
    """When each episode had its last reply, in seconds since the first began. Each takes its next turn at once.

    live: begun, and called once, before the clock starts.
    """
    ends, turn = [0.0] * size.episodes, [0] * size.episodes
    tasks = [_task(size) for _ in range(size.episodes)]  # as read from a file, before anything is played

    def go_on(index: int) -> None:
        envs.send(index, _turn(waits[index][turn[index]]))
        turn[index] += 1

    with _envs(pool, size) as envs:
        if live:
            _begin(envs)
        start = time.perf_counter()
        for index in range(size.episodes):
            if live:
                go_on(index)
            else:
                envs.reset(index, seed=index, options={"task": tasks[index]})
        while envs.pending:
            for event in envs.recv():
                _check(event, turn[event.index])
                if turn[event.index] < size.turns:
                    go_on(event.index)
                else:
                    ends[event.index] = time.perf_counter() - start
    return ends


def lock_step(waits: list[list[float]], pool: JailPool, size: Size) -> list[float]:
    """The same of live episodes, where every turn begins when the slowest call of the turn before is over."""
    ends = [0.0] * size.episodes
    with _envs(pool, size) as envs:
        _begin(envs)
        start = time.perf_counter()
        for turn in range(size.turns):
            for index in range(size.episodes):
                envs.send(index, _turn(waits[index][turn]))
            while envs.pending:
                for event in envs.recv():
                    _check(event, turn + 1)
                    ends[event.index] = time.perf_counter() - start
    return ends


def _begin(envs: EnvPool) -> None:
    """An episode in every slot, after a call that does not wait."""
    task = _task(Size())
    for index in range(envs.size):
        envs.reset(index, seed=index, options={"task": task})
    for event in envs.recv(min_ready=envs.size):
        _check(event, 0)
        envs.send(event.index, _turn(0.0))
    for event in envs.recv(min_ready=envs.size):
        _check(event, 1)


@contextlib.contextmanager
def _envs(pool: JailPool, size: Size) -> Iterator[EnvPool]:
    """All processes of its episodes are gone in the end, before the next run's clock starts."""
    make = lambda: SynToolEnv(sandbox=pool, max_turns=size.turns + 2)  # noqa: E731
    with EnvPool(make, size.episodes, size.concurrency) as envs:
        yield envs
    deadline = time.monotonic() + GONE_WITHIN_S
    while left := process_tree.jails().episodes:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(left)} processes of a closed EnvPool are still there after {GONE_WITHIN_S} s")
        time.sleep(GONE_POLL_S)


def _task(size: Size) -> Task:
    limits = {"call_timeout_s": size.call_timeout_s}
    extra = {"id": "prices-0", "env": SOURCE, "func_schemas": json.dumps([SCHEMA]), "limits": limits}
    truth = {"style": "rule", "ground_truth": "24.5"}
    return Task.from_row({"question": QUESTION, "reward_model": truth, "extra_info": extra}, "prices-0")


def _turn(wait_s: float) -> str:
    call = json.dumps({"name": "get_price", "arguments": {"item": "lamp", "wait_s": wait_s}})
    return f"<tool_call>\n{call}\n</tool_call>"


def _check(event, turn: int) -> None:
    if event.error is not None:
        raise event.error
    if turn and event.observation != OBSERVATION:
        raise RuntimeError(f"a call came to {event.observation!r}; expected {OBSERVATION}")


def _thinned(ends: list[float]) -> list[float]:
    """In order, at most SERIES_POINTS of them, the last included."""
    ordered = sorted(ends)
    kept = ordered[:: -(-len(ordered) // SERIES_POINTS)]
    return [round(end, 3) for end in [*kept, ordered[-1]]]
