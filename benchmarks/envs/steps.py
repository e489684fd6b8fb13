"""Whole environment steps a second of one core: the turn is parsed, its call checked, run in the jail, and rendered.

Ours by `env.step` after `env.step`, and through EnvPool. Beside it the same tool, unjailed, in the process of
SkyRL-gym and of verifiers, each driven as its own trainer drives it and by its bare step; the least that a process for
each episode costs; and ReCall's server with an environment loop like ReCall's. Every party has one core for
everything: environments, threads, jail or server.
A step is one of a live episode that has called before: beginning an episode is not in it (benchmarks/sandbox spawn).
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import requests

from benchmarks.envs import recall_loop
from benchmarks.envs.peers import process
from benchmarks.envs.peers.peer import Timed, timed
from benchmarks.envs.task import JOB, OBSERVATION, TURN, task
from benchmarks.sandbox import process_tree
from benchmarks.sandbox.cores import FIRST, on
from benchmarks.sandbox.figures import Claim, Measured
from benchmarks.sandbox.live import allow_descriptors, obstacle
from benchmarks.sandbox.report import say
from benchmarks.sandbox.servers import recall_server
from recall_env.env import SynToolEnv
from recall_env.sandbox import JailPool
from recall_env.vector import EnvPool

OURS = ("env.step", "EnvPool")
PEERS = {  # name -> the peer and its loop
    "SkyRL-gym as its trainer steps": ("SkyRL-gym", "trainer"),
    "verifiers as its rollout steps": ("verifiers", "trainer"),
    "SkyRL-gym as its trainer steps, tools shared": ("SkyRL-gym", "trainer, shared"),
    "SkyRL-gym, bare env.step": ("SkyRL-gym", "direct"),
    "verifiers, bare env_response": ("verifiers", "direct"),
    "a bare process for each episode": ("a bare process", "direct"),
}
RECALL = {"ReCall, requests.post": requests.post, "ReCall, kept connections": None}
PEER_GOAL, RECALL_GOAL = 3.0, 10.0  # times a peer's time of a step, at most; times ReCall's rate, at least
WORKERS = 4  # threads of the EnvPool: the tool answers at once, on one core

Party = Callable[[int, float], dict[str, Timed]]  # live episodes, seconds to time -> its loops


@dataclass(frozen=True)
class Size:
    live: tuple[int, ...] = (1, 64, 1000, 5000)
    recall_live: tuple[int, ...] = (1, 64)  # it keeps nothing of an episode: more of them change nothing
    turns: int = 5  # of each episode by each loop
    duration_s: float = 1.0  # of a round of each loop
    rounds: int = 3  # the median one counts; the parties take turns


QUICK = Size(live=(1, 16), turns=3, duration_s=0.2, rounds=1)


def measure(size: Size) -> Measured:
    measured = Measured()
    allow_descriptors(max(size.live))
    with on(FIRST), contextlib.ExitStack() as stack:
        pool = stack.enter_context(contextlib.closing(JailPool(shards=1)))
        parties: list[Party] = [partial(ours, pool, size.turns), *_peers(stack, size, measured)]
        recall = _recall(stack.enter_context(recall_server(FIRST)))
        found: dict[tuple[str, int], Timed] = {}
        for live in size.live:
            if live > size.live[0] and (full := obstacle()):
                measured.notes.append(f"stopped before {live} live: {full}")
                break
            met = [*parties, recall] if live in size.recall_live else parties
            found |= {(name, live): run for name, run in _medians(met, live, size).items()}
    _tell(measured, found)
    return measured


def ours(pool: JailPool, turns: int, live: int, duration_s: float) -> dict[str, Timed]:
    """The same episodes by both loops, one after the other."""
    pooled = {"steps": 0, "elapsed_s": 0.0}

    def play(live: int, turns: int) -> float:
        with EnvPool(lambda: SynToolEnv(sandbox=pool, max_turns=2 * turns + 2), live, WORKERS) as envs:
            _begin(envs)
            direct_s = _direct(envs, turns)
            pooled["elapsed_s"] += _pooled(envs, turns)
            pooled["steps"] += live * turns
        while process_tree.jails().episodes:  # their end is not to fall into the next one's time
            time.sleep(0.001)
        return direct_s

    direct = timed(play, live, turns, duration_s)
    return {"env.step": direct, "EnvPool": Timed(**pooled)}


def _begin(envs: EnvPool) -> None:
    """An episode in every slot, after its first call."""
    played = task()
    for index in range(envs.size):
        envs.reset(index, seed=index, options={"task": played})
    _raise(envs.recv(min_ready=envs.size))
    for index in range(envs.size):
        envs.send(index, TURN)
    _check(envs.recv(min_ready=envs.size))


def _direct(envs: EnvPool, turns: int) -> float:
    steps = [envs.env(index).step for index in range(envs.size)]
    start = time.perf_counter()
    for _ in range(turns):
        for step in steps:
            if step(TURN)[0] != OBSERVATION:
                raise RuntimeError(f"a step came to something else than {OBSERVATION}")
    return time.perf_counter() - start


def _pooled(envs: EnvPool, turns: int) -> float:
    left = [turns - 1] * envs.size
    start = time.perf_counter()
    for index in range(envs.size):
        envs.send(index, TURN)
    while envs.pending:
        events = envs.recv()
        _check(events)
        for event in events:
            if left[event.index]:
                left[event.index] -= 1
                envs.send(event.index, TURN)
    return time.perf_counter() - start


def _raise(events) -> None:
    for event in events:
        if event.error is not None:
            raise event.error


def _check(events) -> None:
    _raise(events)
    for event in events:
        if event.observation != OBSERVATION:
            raise RuntimeError(f"a step came to {event.observation!r}; expected {OBSERVATION}")


def _peers(stack: contextlib.ExitStack, size: Size, measured: Measured) -> list[Party]:
    try:
        orders = {name: stack.enter_context(process.started(name, JOB)) for name in process.SCRIPTS}
    except process.PeersUnavailable as why:
        measured.notes.append(f"no peers: {why}")
        say("steps", measured.notes[-1])
        return []

    def party(live: int, duration_s: float) -> dict[str, Timed]:
        return {name: orders[peer](loop, live, size.turns, duration_s) for name, (peer, loop) in PEERS.items()}

    return [party]


def _recall(port: int) -> Party:
    posts = {name: post or requests.Session().post for name, post in RECALL.items()}

    def party(live: int, duration_s: float) -> dict[str, Timed]:
        return {name: timed(recall_loop.loop(port, JOB, post), live, 1, duration_s) for name, post in posts.items()}

    return party


def _medians(parties: list[Party], live: int, size: Size) -> dict[str, Timed]:
    """Of each loop the round of the middle speed. The parties take turns, so that none has the machine's best hour."""
    rounds: dict[str, list[Timed]] = {}
    for _ in range(size.rounds):
        for party in parties:
            for name, run in party(live, size.duration_s).items():
                rounds.setdefault(name, []).append(run)
    return {name: sorted(runs, key=lambda run: run.us)[len(runs) // 2] for name, runs in rounds.items()}


def _tell(measured: Measured, found: dict[tuple[str, int], Timed]) -> None:
    names, counts = [list(dict.fromkeys(each)) for each in zip(*found, strict=True)]
    for (name, live), run in found.items():
        rate = measured.add(f"{name}, {live} live", 1e6 / run.us, "steps/s")
        say("steps", f"{name}, {live} live: {rate:,.0f} steps/s, {run.us:,.0f} us each")
    measured.series["live"] = counts
    for name in names:
        measured.series[name] = [round(1e6 / found[name, live].us, 1) for live in counts if (name, live) in found]
    recall = max(measured.series[next(iter(RECALL))])
    for live in counts:
        for mine in OURS:
            us = found[mine, live].us
            for peer, (_, loop) in PEERS.items():
                goal = PEER_GOAL if loop == "trainer" else None
                if loop.startswith("trainer") == (mine == "EnvPool"):
                    theirs = found.get((peer, live))
                    value = us if theirs else None
                    measured.claims.append(
                        Claim(f"a step by {mine}, {live:,} live, beside {peer}", value, "us", theirs and theirs.us,
                              peer, "at most", goal, "ratio")
                    )  # fmt: skip
            measured.claims.append(
                Claim(f"steps a second by {mine}, {live:,} live", 1e6 / us, "steps/s", recall, "ReCall's loop",
                      "at least", RECALL_GOAL, "ratio")
            )  # fmt: skip
