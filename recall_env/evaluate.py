"""Evaluate an agent: n tasks, k episodes of each, several at a time. Success with its interval; faults apart."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace

from recall_env.agent import AgentFailure, TurnRefused
from recall_env.env import SynToolEnv
from recall_env.episode_file import EpisodeRecord, origin_of, record
from recall_env.errors import EnvError, RecallError
from recall_env.play import AgentOf, Ended, Play, play_all
from recall_env.rubric import Rubric
from recall_env.taskset import TaskSet

__all__ = ["Evaluation", "Played", "Settings", "Tally", "evaluate", "wilson_interval"]

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
    agent_of: AgentOf,
    *,
    agent: str,
    k: int = 1,
    seed: int = 0,
    concurrency: int = 8,
    settings: Settings | None = None,
    on_episode: Callable[[Played], None] | None = None,
    on_record: Callable[[EpisodeRecord], None] | None = None,
) -> Evaluation:
    """Play every task k times. The same seed gives the same result, whatever the concurrency.

    agent_of: (task, seed, dialect) -> an Agent of one episode. agent: its name, for the record.
    seed: the environments' seeds are seed, seed + 1, ... concurrency: episodes at one time.
    on_episode: called after each with its result. on_record: with all of it, in the order of tasks.

    Both are called one at a time, from a thread that is not the caller's. The first error that is no fault of one
    episode (no jail on this machine, a bad task, an endpoint that refuses) stops all and is raised, after the episodes
    in flight; so is Ctrl-C.
    """
    if k < 1 or concurrency < 1:
        raise RecallError(f"k and concurrency: expected at least 1, got {k} and {concurrency}")
    settings = settings or Settings()

    def make_env() -> SynToolEnv:
        return SynToolEnv(**vars(settings), tasks=tasks)

    example = make_env()  # refuses wrong settings before anything is played
    origin, dialect = origin_of(example, tasks), example.dialect
    every: dict[int, Played] = {}
    records = _InOrder(on_record or (lambda whole: None))

    def tell(ended: Ended) -> None:
        number, task = ended.play.number, ended.play.task
        played = every[number] = _outcome(ended, number % k)
        if on_episode is not None:
            on_episode(played)
        ending = {"status": _status(ended.fault), "fault": played.fault_text}
        records.add(number, record(task, ended.play.seed, origin, ended.transcript, **ending))

    total = len(tasks) * k
    plays = (Play(number, tasks[number // k], seed + number) for number in range(total))
    play_all(plays, make_env, agent_of, dialect, concurrency=min(concurrency, max(1, total)), on_end=tell)
    return _summed_up(tasks, agent, settings, k, seed, [every[number] for number in range(total)])


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


def _status(fault: RecallError | None) -> str | None:
    """Of the record; None where the environment ended the episode, and says how."""
    statuses = {TurnRefused: "refused", EnvError: "env_error", AgentFailure: "infra"}
    return next((status for kind, status in statuses.items() if isinstance(fault, kind)), None)


def _outcome(ended: Ended, sample: int) -> Played:
    play, transcript, fault = ended.play, ended.transcript, ended.fault
    empty = Played(play.task.id, play.task.family, sample, play.seed, False, 0.0, 0, 0, 0, None, None)
    if isinstance(fault, TurnRefused):  # a failure like any other, or a long-winded agent would be spared its worst
        return replace(empty, termination="refused", fault_text=str(fault))
    if fault is not None:
        return replace(empty, fault="env" if isinstance(fault, EnvError) else "infra", fault_text=str(fault))
    last, calls = transcript.infos[-1], transcript.tool_calls
    if not last["valid"]:
        return replace(empty, fault="infra", fault_text=last["fault"])
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
