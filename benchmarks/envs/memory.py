"""What a live episode weighs: before its first call, when it has no process yet, and after it.

Shipped tasks, a different one in each episode, as a training step has them. The host's part is the growth of this
process; the jails' part is what their memory cgroups are charged, or the PSS of their processes where there are none.
"""

import gc
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.sandbox import process_tree
from benchmarks.sandbox.figures import Claim, Measured
from benchmarks.sandbox.live import allow_descriptors, warm
from benchmarks.sandbox.report import say
from recall_env.dialect import DIALECTS
from recall_env.env import SynToolEnv
from recall_env.sandbox import JailPool
from recall_env.taskset import TaskSet
from recall_env.vector import EnvPool

WORKERS = 4  # threads of the EnvPool
WARM = 50  # episodes begun, played and closed first: what is loaded once is no episode's
PSS_SAMPLE = 50
KB_OF_MB = 1000.0


@dataclass(frozen=True)
class Size:
    episodes: int = 1000


QUICK = Size(episodes=60)


class Weight(NamedTuple):
    """Megabytes."""

    host: float
    jails: float


def measure(size: Size) -> Measured:
    measured = Measured()
    allow_descriptors(size.episodes)
    tasks = TaskSet.load("syntool", "train").spread(size.episodes)
    turns = [DIALECTS["hermes"].write_call(task.solution.calls[0]) for task in tasks]
    pool = JailPool()
    try:
        warm(pool)
        _play(pool, tasks, turns[:WARM])
        warm(pool)
        states = _play(pool, tasks, turns)
        if process_tree.charged_mb() is None:
            measured.notes.append("no memory cgroups here: the jails' part is PSS")
    finally:
        pool.close()
    for state, weight in states.items():
        parts = {"on the host": weight.host, "in the jails": weight.jails, "together": sum(weight)}
        for part, mb in parts.items():
            measured.add(f"an episode {state}, {part}", KB_OF_MB * mb / len(turns), "kB")
        each = {part: KB_OF_MB * mb / len(turns) for part, mb in parts.items()}
        say("memory", f"an episode {state}: {each['on the host']:,.0f} + {each['in the jails']:,.0f} kB")
        measured.claims.append(Claim(f"memory of a live episode {state}", each["together"], "kB"))
    return measured


def _play(pool: JailPool, tasks: TaskSet, turns: list[str]) -> dict[str, Weight]:
    """What all episodes weigh together: begun, and after a call in each. Index i plays task i."""
    before = _weigh()
    with EnvPool(lambda: SynToolEnv(sandbox=pool, tasks=tasks), len(turns), WORKERS) as envs:
        for index in range(len(turns)):
            envs.reset(index, seed=index, options={"index": index})
        _receive(envs)
        begun = _weigh()
        for index, turn in enumerate(turns):
            envs.send(index, turn)
        _receive(envs)
        called = _weigh()
    growth = lambda after: Weight(after.host - before.host, after.jails - before.jails)  # noqa: E731
    return {"reset, without a call": growth(begun), "that has called a tool": growth(called)}


def _receive(envs: EnvPool) -> None:
    for event in envs.recv(min_ready=envs.size):
        if event.error is not None:
            raise event.error
        if event.info["failure"] not in (None, "tool"):  # some tasks' tools fail at first, on purpose
            raise RuntimeError(f"a gold call came to {event.info}")


def _weigh() -> Weight:
    gc.collect()
    charged_mb = process_tree.charged_mb()
    return Weight(process_tree.rss_mb(), _pss_mb() if charged_mb is None else charged_mb)


def _pss_mb() -> float:
    """Of all zygotes and episodes; of many episodes, by a sample of them."""
    jails = process_tree.jails()
    sample = jails.episodes[:: max(1, len(jails.episodes) // PSS_SAMPLE)]
    episodes = len(jails.episodes) * sum(map(process_tree.pss_mb, sample)) / len(sample) if sample else 0.0
    return sum(map(process_tree.pss_mb, jails.zygotes)) + episodes
