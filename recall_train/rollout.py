"""Plays trajectories: who is sampled next, who waits for a tool, when a group is complete.

One thread drives the engine and the pool of environments, whose tools run meanwhile. Nothing waits for a turn of the
whole batch: each trajectory is submitted again as soon as its own tools have answered. Not here: how text becomes ids
(tokens.py), what an episode is (recall_env.env).
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from recall_env.errors import EnvError, RecallError, SandboxFailure
from recall_env.task import Task
from recall_env.vector import EnvPool, Event
from recall_train.engine.base import Engine, Generation, Request
from recall_train.ranks import Ranks
from recall_train.tokens import ChatTokens
from recall_train.trajectory import Trajectory

__all__ = ["Play", "Rollout", "RolloutStats", "check_infra", "collect_groups", "has_variance", "mix_seed"]


@dataclass(frozen=True)
class Play:
    """One episode to play. The seed fixes its tools' randomness and, with the turn number, its sampling."""

    task: Task
    group: int
    sample: int
    env_seed: int  # one for a whole group: its trajectories meet the same world
    seed: int  # of the sampling


@dataclass
class RolloutStats:
    """What a collection cost, for metrics."""

    sampled_tokens: int = 0
    seconds: float = 0.0
    engine_s: float = 0.0
    env_wait_s: float = 0.0  # time in which the engine had to stand still for tools
    max_inflight: int = 0
    call_s: list[float] = field(default_factory=list)  # of each tool call in its jail


class Rollout:
    """Plays episodes of one engine over one EnvPool. Not thread-safe."""

    def __init__(
        self,
        engine: Engine,
        pool: EnvPool,
        tokens: ChatTokens,
        *,
        max_turn_tokens: int,
        temperature: float,
        deterministic: bool,
        prefill: str = "",
    ):
        """max_turn_tokens: of one turn, its stop token included; less where the context has no more room.

        temperature: of the sampling. deterministic: an engine step waits for every tool in flight, so that batches,
        and on CPU bytes, depend on the seeds alone. prefill: the dialect's.
        """
        self.engine, self.pool, self.tokens = engine, pool, tokens
        self.max_turn_tokens, self.temperature = max_turn_tokens, temperature
        self.deterministic, self.prefill = deterministic, prefill
        self.stats = RolloutStats()
        self._live: dict[int, _Live] = {}  # by slot of the pool
        self._free = deque(range(pool.size))

    def play(self, plays: Iterator[Play] | list[Play], temperature: float | None = None) -> Iterator[Trajectory]:
        """Yield each trajectory when it ends, in the order in which they end.

        `plays` is drawn from lazily, whenever a slot is free. Closing the iterator early ends the episodes in flight.
        A broken sandbox and an author's error end a trajectory (status infra, env_error); any other error is raised.
        """
        plays = iter(plays)
        temperature = self.temperature if temperature is None else temperature
        began = time.perf_counter()
        self.stats = RolloutStats()
        try:
            while True:
                while self._free and (play := next(plays, None)) is not None:
                    self._begin(play, temperature)
                if not self._live:
                    break
                yield from self._advance()
                self.stats.seconds = time.perf_counter() - began
        finally:
            self._drain()

    def _begin(self, play: Play, temperature: float) -> None:
        slot = self._free.popleft()
        task = play.task
        trajectory = Trajectory(task.id, play.group, play.sample, play.seed, family=task.family)
        trajectory.env_seed, trajectory.content_hash = play.env_seed, task.content_hash
        self._live[slot] = _Live(trajectory, play, temperature)
        self.pool.reset(slot, seed=play.env_seed, options={"task": play.task})

    def _advance(self) -> list[Trajectory]:
        """Take in what the tools answered, then one engine step. Returns the trajectories that ended."""
        ended = []
        waiting = self.pool.pending
        if waiting:
            # Deterministic: the engine's batches depend on the seed alone, so it waits for every tool in flight.
            # Otherwise it waits only when it has nothing else to do.
            least = waiting if self.deterministic else (0 if self.engine.inflight else 1)
            start = time.perf_counter()
            events = sorted(self.pool.recv(min_ready=least), key=lambda event: event.index)
            self.stats.env_wait_s += time.perf_counter() - start
            for event in events:
                ended += self._on_event(event)
        if self.engine.inflight:
            self.stats.max_inflight = max(self.stats.max_inflight, self.engine.inflight)
            start = time.perf_counter()
            generations = self.engine.step()
            self.stats.engine_s += time.perf_counter() - start
            for generation in generations:
                ended += self._on_turn(generation)
        return ended

    def _on_event(self, event: Event) -> list[Trajectory]:
        live = self._live[event.index]
        trajectory = live.trajectory
        if event.error is not None:
            return [self._void(event.index, event.error)]
        info = event.info
        trajectory.messages += info["messages"]
        turn = len(trajectory.turns)
        if turn:
            trajectory.tool_calls += [{"turn": turn - 1, **call} for call in info["tool_calls"]]
        if event.terminated or event.truncated:
            if not info["valid"]:
                trajectory.fault = info["fault"]
                return [self._end(event.index, "infra")]
            trajectory.reward, trajectory.success = event.reward, info["success"]
            trajectory.score, trajectory.answer = info["score"]["values"], info["answer"]
            trajectory.final_state = info.get("final_state", {})
            trajectory.verdicts = info["score"].get("verdicts", {})
            return [self._end(event.index, info["termination"])]
        if turn:
            ids = self.tokens.suffix(info["messages"], self.prefill)
        else:
            ids = self.tokens.start(info["messages"], info["tools"], self.prefill)
        if len(trajectory.ids) + len(ids) >= self.engine.max_context:
            return [self._end(event.index, "context")]
        trajectory.add_context(ids)
        self._submit(event.index)
        return []

    def _submit(self, slot: int) -> None:
        live = self._live[slot]
        room = self.engine.max_context - len(live.trajectory.ids)
        self.engine.submit(
            Request(
                id=str(slot),
                prompt_ids=tuple(live.trajectory.ids),
                max_tokens=min(self.max_turn_tokens, room),
                seed=mix_seed(live.play.seed, len(live.trajectory.turns)),
                temperature=live.temperature,
                session=f"{live.play.group}.{live.play.sample}",
            )
        )

    def _on_turn(self, generation: Generation) -> list[Trajectory]:
        slot = int(generation.id)
        live = self._live[slot]
        ids = list(generation.ids)
        live.trajectory.add_turn(ids, list(generation.logprobs), generation.version, generation.finish)
        self.stats.sampled_tokens += len(ids)
        if generation.finish == "length":  # cut: what stands there is not what the model meant to say
            live.trajectory.messages.append({"role": "assistant", "content": self.prefill + self.tokens.text(ids)})
            full = len(live.trajectory.ids) >= self.engine.max_context
            return [self._end(slot, "context" if full else "length")]
        text = self.tokens.text(ids)
        live.trajectory.messages.append({"role": "assistant", "content": self.prefill + text})
        self.pool.send(slot, text)
        return []

    def _end(self, slot: int, status: str) -> Trajectory:
        live = self._live.pop(slot)
        self.stats.call_s += self.pool.telemetry(slot).get("call_s", [])
        live.trajectory.status = status
        self._free.append(slot)
        return live.trajectory

    def _void(self, slot: int, error: BaseException) -> Trajectory:
        """An environment raised instead of answering: ours or its author's fault, never the model's."""
        if not isinstance(error, SandboxFailure | EnvError):
            raise error
        trajectory = self._end(slot, "infra" if isinstance(error, SandboxFailure) else "env_error")
        trajectory.fault = str(error)
        return trajectory

    def _drain(self) -> None:
        """Bring pool and engine to rest, so that the next collection starts clean whatever interrupted this one."""
        while self.engine.inflight:
            self.engine.step()
        while self.pool.pending:
            self.pool.recv(min_ready=self.pool.pending)
        self._free = deque(range(self.pool.size))
        self._live.clear()


@dataclass
class _Live:
    trajectory: Trajectory
    play: Play
    temperature: float


def mix_seed(*parts: int) -> int:
    """One 63-bit seed from several numbers; the same on every machine."""
    # Their number is one of them, or a trailing 0 would make no difference.
    return int(np.random.SeedSequence((len(parts), *parts)).generate_state(1, np.uint64)[0] >> 1)


def collect_groups(
    rollout: Rollout,
    draw: Callable[[int], Task],
    *,
    tasks: int,
    group_size: int,
    seed: int,
    max_refills: int = 0,
    on_end: Callable[[Trajectory], None] = lambda trajectory: None,
) -> list[list[Trajectory]]:
    """Play `tasks` groups of `group_size` trajectories each; draw(number) gives the task of a group.

    With max_refills > 0 a group whose valid rewards are all equal (it teaches nothing) is followed by a fresh one, at
    most max_refills times: DAPO's dynamic sampling (arXiv:2503.14476, eq. 11). Groups without variance are returned
    too, so that rewards are averaged over everything that was played.
    """
    queue: deque[Play] = deque()
    groups: dict[int, list[Trajectory]] = {}

    def add_group() -> None:
        number = len(groups)
        task, env_seed = draw(number), mix_seed(seed, number)
        groups[number] = []
        queue.extend(
            Play(task, number, sample, env_seed, mix_seed(seed, number, sample)) for sample in range(group_size)
        )

    for _ in range(tasks):
        add_group()
    refills = 0
    with closing(rollout.play(_Refilled(queue))) as ended:  # an error below ends the episodes in flight at once
        for trajectory in ended:
            on_end(trajectory)
            group = groups[trajectory.group]
            group.append(trajectory)
            if len(group) == group_size and refills < max_refills and not has_variance(group):
                refills += 1
                add_group()
    return [sorted(group, key=lambda t: t.sample) for group in groups.values()]


class _Refilled:
    """An iterator over a queue that may be filled again after it ran dry."""

    def __init__(self, queue: deque[Play]):
        self.queue = queue

    def __iter__(self) -> Iterator[Play]:
        return self

    def __next__(self) -> Play:
        if not self.queue:
            raise StopIteration
        return self.queue.popleft()


def has_variance(group: list[Trajectory]) -> bool:
    """Whether a group's valid trajectories differ in reward; without that, advantages are all zero."""
    rewards = [t.reward for t in group if t.valid]
    return len(rewards) > 1 and max(rewards) - min(rewards) > 1e-9


def check_infra(trajectories: list[Trajectory], limit: float, ranks: Ranks) -> None:
    """Collective. Raises RecallError, on every rank, when more was lost to infrastructure than the run may lose.

    limit: the share, 0 to 1, of the trajectories of all ranks.
    """
    every = ranks.gather((len(trajectories), [t.fault for t in trajectories if t.status == "infra"]))
    played, faults = sum(count for count, _ in every), [fault for _, faults in every for fault in faults]
    frac = len(faults) / max(1, played)
    if frac > limit:
        raise RecallError(
            f"{frac:.0%} of these episodes were lost to infrastructure (limit {limit:.0%}): {faults[0]}; "
            "run `recall-env doctor`, or raise rollout.max_infra_frac"
        )
