"""Evaluate an agent: n tasks, k episodes of each, several at a time. Success with its interval; faults apart."""

import json
import math
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from recall_env.agent import Agent, AgentFailure, TurnRefused
from recall_env.dialect import Dialect
from recall_env.dialect.base import Message
from recall_env.env import SynToolEnv
from recall_env.episode_file import EpisodeRecord, Transcript, origin_of, record
from recall_env.errors import EnvError, RecallError
from recall_env.rubric import Rubric
from recall_env.task import Task
from recall_env.taskset import TaskSet

__all__ = ["Evaluation", "Played", "Settings", "Tally", "evaluate", "play", "wilson_interval"]

_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Settings:
    """How episodes are played; recorded with the result."""

    dialect: str = "hermes"
    rubric: str | Rubric = "answer"
    max_turns: int = 10
    time_budget_s: float | None = None
    text_budget: int | None = None
    sandbox: str = "nsjail"
    services: Mapping[str, str] = field(default_factory=dict)  # name -> address


@dataclass(frozen=True)
class Played:
    """One finished episode. fault: None, "infra" (jail or endpoint) or "env" (the author's); then it does not count.

    termination: the environment's, or "refused": the endpoint would not take the turn, too long a context most often.
    """

    task_id: str
    family: str | None
    sample: int
    seed: int
    success: bool
    reward: float
    turns: int
    calls: int
    failed_calls: int
    termination: str | None
    answer: str | None
    fault: str | None = None
    fault_text: str | None = None


@dataclass(frozen=True)
class Tally:
    """Success over episodes that count."""

    episodes: int
    successes: int
    success: float  # 0 when there are no episodes
    low: float  # 95% Wilson interval
    high: float

    @staticmethod
    def of(played: list[Played]) -> "Tally":
        """Of those without a fault."""
        counted = [one for one in played if one.fault is None]
        successes = sum(one.success for one in counted)
        low, high = wilson_interval(successes, len(counted))
        return Tally(len(counted), successes, successes / len(counted) if counted else 0.0, low, high)


@dataclass(frozen=True)
class Evaluation:
    """All of it. The interval takes episodes as independent, which the k of one task are not quite."""

    dataset: str
    agent: str
    settings: Settings
    n: int
    k: int
    seed: int
    overall: Tally
    families: dict[str, Tally]
    mean_reward: float
    infra: int  # episodes void by our fault or the endpoint's
    env_errors: int  # episodes void by the environment author's fault
    episodes: list[Played] = field(repr=False)

    def to_json(self) -> str:
        """All fields, episodes included; what `recall-env eval --output` writes."""
        rubric = self.settings.rubric
        settings = replace(self.settings, rubric="")
        written = asdict(replace(self, settings=settings))
        written["settings"]["rubric"] = rubric.to_dict() if isinstance(rubric, Rubric) else rubric
        return json.dumps(written, indent=1, ensure_ascii=False)


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95% interval of a success rate (Wilson 1927). Of no episodes at all: (0, 1)."""
    if n == 0:
        return 0.0, 1.0
    rate, z2 = successes / n, _Z95**2
    middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def evaluate(
    tasks: TaskSet,
    agent_of: Callable[[Task, int, Dialect], Agent],
    *,
    agent: str,
    k: int = 1,
    seed: int = 0,
    concurrency: int = 8,
    settings: Settings | None = None,
    on_episode: Callable[[Played], None] | None = None,
    on_record: Callable[[EpisodeRecord], None] | None = None,
) -> Evaluation:
    """Play every task k times.

    agent_of: (task, seed, dialect) -> an Agent of one episode. agent: its name, for the record.
    seed: the environments' seeds are seed, seed + 1, ... concurrency: episodes at one time, each in a thread.
    on_episode: called after each with its result. on_record: with all of it, in the order of tasks.

    Both are called one at a time, from worker threads. The first error that is no fault of one episode (no jail on
    this machine, a bad task, an endpoint that refuses) stops all and is raised.
    """
    if k < 1 or concurrency < 1:
        raise RecallError(f"k and concurrency: expected at least 1, got {k} and {concurrency}")
    settings = settings or Settings()

    def play_one(index: int, sample: int) -> Played:
        played, whole = _play_and_tell(tasks, index, agent_of, settings, sample, seed + index * k + sample)
        with telling:
            if on_episode is not None:
                on_episode(played)
            records.add(index * k + sample, whole)
        return played

    telling, records = threading.Lock(), _InOrder(on_record or (lambda whole: None))
    pairs = [(index, sample) for index in range(len(tasks)) for sample in range(k)]
    with ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="recall-eval") as executor:
        try:
            futures = [executor.submit(play_one, *pair) for pair in pairs]
            wait(futures, return_when=FIRST_EXCEPTION)
            first = next((f for f in futures if f.done() and f.exception() is not None), None)
            played = [] if first is not None else [future.result() for future in futures]
        finally:
            executor.shutdown(cancel_futures=True)  # an error or Ctrl-C ends after the episodes in flight
    if first is not None:
        raise first.exception()
    return _summed_up(tasks, agent, settings, k, seed, played)


class _InOrder:
    """Hands records on by their numbers, from 0, whatever the order in which they come."""

    def __init__(self, hand_on: Callable[[EpisodeRecord], None]):
        self._hand_on, self._next = hand_on, 0
        self._waiting: dict[int, EpisodeRecord] = {}

    def add(self, number: int, record: EpisodeRecord) -> None:
        self._waiting[number] = record
        while self._next in self._waiting:
            self._hand_on(self._waiting.pop(self._next))
            self._next += 1


def play(
    env: SynToolEnv, agent: Agent, task: Task, seed: int, transcript: Transcript | None = None
) -> tuple[list[Message], list[dict[str, Any]], float]:
    """One episode: its messages, assistant turns included; the info of each step; the reward.

    transcript: filled as the episode goes, for who wants what was played of one that raises.
    """
    transcript = Transcript() if transcript is None else transcript
    _, info = env.reset(seed=seed, options={"task": task})
    transcript.begin(info)
    ended = False
    while not ended:
        # A served model has not been given the prefill, so it may open the thought itself.
        action = agent.act(transcript.messages, transcript.tools).removeprefix(env.dialect.prefill)
        _, reward, terminated, truncated, info = env.step(action)
        transcript.step(env.dialect, action, reward, info)
        ended = terminated or truncated
    return transcript.messages, transcript.infos, transcript.reward


def _play_and_tell(
    tasks: TaskSet, index: int, agent_of, settings: Settings, sample: int, seed: int
) -> tuple[Played, EpisodeRecord]:
    task, transcript = tasks[index], Transcript()
    env = SynToolEnv(**vars(settings), tasks=TaskSet([task]))
    empty = Played(task.id, task.family, sample, seed, False, 0.0, 0, 0, 0, None, None)
    played, status = empty, None
    try:
        play(env, agent_of(task, seed, env.dialect), task, seed, transcript)
    except TurnRefused as error:  # a failure like any other, or a long-winded agent would be spared its worst episodes
        played, status = replace(empty, termination="refused", fault_text=str(error)), "refused"
    except EnvError as error:
        played, status = _faulty(empty, "env", str(error)), "env_error"
    except AgentFailure as error:
        played, status = _faulty(empty, "infra", str(error)), "infra"
    else:
        played = _outcome(empty, transcript)
    finally:
        env.close()
    origin = origin_of(env, tasks)
    return played, record(task, seed, origin, transcript, status=status, fault=played.fault_text)


def _outcome(empty: Played, transcript: Transcript) -> Played:
    last, calls = transcript.infos[-1], transcript.tool_calls
    if not last["valid"]:
        return _faulty(empty, "infra", last["fault"])
    return replace(
        empty,
        success=last["success"],
        reward=transcript.reward,
        turns=len(transcript.infos),
        calls=len(calls),
        failed_calls=sum(call["status"] != "ok" for call in calls),
        termination=last["termination"],
        answer=last["answer"],
    )


def _faulty(empty: Played, fault: str, text: str) -> Played:
    return replace(empty, fault=fault, fault_text=text)


def _summed_up(tasks: TaskSet, agent: str, settings: Settings, k: int, seed: int, played: list[Played]) -> Evaluation:
    families: dict[str, list[Played]] = defaultdict(list)
    for one in played:
        families[one.family or "none"].append(one)
    counted = [one for one in played if one.fault is None]
    return Evaluation(
        dataset=tasks.name if tasks.split is None else f"{tasks.name}/{tasks.split}",
        agent=agent,
        settings=settings,
        n=len(tasks),
        k=k,
        seed=seed,
        overall=Tally.of(played),
        families={name: Tally.of(members) for name, members in sorted(families.items())},
        mean_reward=sum(one.reward for one in counted) / len(counted) if counted else 0.0,
        infra=sum(one.fault == "infra" for one in played),
        env_errors=sum(one.fault == "env" for one in played),
        episodes=played,
    )
