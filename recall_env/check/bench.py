"""A task on the bench: what every check shares. Its gold calls are played once and kept; time is counted."""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from recall_env.answer import same_answer
from recall_env.check.gold_calls import answer_text, heard, leaves, mentions
from recall_env.check.player import Players, play_turns
from recall_env.env import SynToolEnv
from recall_env.errors import RecallError
from recall_env.sandbox.broker import shared_broker
from recall_env.sandbox.limits import Limits
from recall_env.sandbox.session import Pool, Session
from recall_env.task import Task
from recall_env.taskset import TaskSet
from recall_env.tool_call import ToolCall, ToolResult

Severity = Literal["error", "warning"]

TELLING_CHARS = 4  # an answer shorter than this stands in a text by chance
COMMON = frozenset("true false none null left right male female open closed".split())
CALL_TIMEOUT_S = 2.0  # of a call whose arguments were made up here


@dataclass(frozen=True)
class Settings:
    """How tasks are played and scored; part of a report."""

    dialect: str = "hermes"
    rubric: str = "answer"  # what `load_rubric` takes: other processes must find it too
    max_turns: int = 10
    sandbox: str = "nsjail"
    services: Mapping[str, str] = field(default_factory=dict)  # name -> address
    seed: int = 0  # of what is drawn: mutants
    budget_s: float = 60.0  # for one task


@dataclass(frozen=True)
class Note:
    severity: Severity
    text: str  # one line: what is wrong


def fault(text: str) -> Note:
    return Note("error", text)


def doubt(text: str) -> Note:
    return Note("warning", text)


class OutOfTime(Exception):
    """The task's time is over."""


class Bench:
    """One task under test. Made for one thread; `close` ends what it opened."""

    def __init__(self, task: Task, pool: Pool, settings: Settings, players: Players | None = None) -> None:
        """players: the processes that `processes` compares. Raises RecallError for a dialect of messages."""
        self.task, self.pool, self.settings, self.players = task, pool, settings, players
        self.figures: dict[str, Any] = {"n_calls": task.calls_needed}
        self.random = random.Random(f"{settings.seed}/{task.content_hash}")
        self._deadline = time.monotonic() + settings.budget_s
        self._broker = shared_broker(settings.services)
        self.env = SynToolEnv(
            tasks=TaskSet([task]),
            dialect=settings.dialect,
            rubric=settings.rubric,
            max_turns=settings.max_turns,
            services=settings.services,
            sandbox=pool,
        )
        if self.env.dialect.takes_messages:
            raise RecallError(f"check writes turns of text, and the dialect {settings.dialect} is one of messages")

    @cached_property
    def gold(self) -> list[ToolResult]:
        return self.replay(self.task.solution.calls)

    @cached_property
    def final_state(self) -> dict[str, ToolResult]:
        """What the functions that the rubric looks at return after the gold calls."""
        names = self.env.rubric.state_functions
        if not names:
            return {}
        calls = self.task.solution.calls if self.task.solution else ()
        looks = [ToolCall(name, {}) for name in names]
        return dict(zip(names, self.replay([*calls, *looks])[len(calls) :], strict=True))

    def replay(
        self, calls: Sequence[ToolCall], *, seed: int = 0, timeout_s: float | None = None, **changes: Any
    ) -> list[ToolResult]:
        """The results of calls in an episode of their own, of the task with some fields changed."""
        with self.session(seed=seed, **changes) as session:
            return [session.call(call.name, call.arguments, timeout_s) for call in calls]

    @contextmanager
    def session(self, *, seed: int = 0, **changes: Any) -> Iterator[Session]:
        """Raises EnvError when the source does not load, OutOfTime when the task's time is over."""
        if time.monotonic() > self._deadline:
            raise OutOfTime
        task = replace(self.task, **changes) if changes else self.task
        session = self.pool.open(
            task.source,
            state=task.state,
            seed=seed,
            mode=self.env.dialect.mode,
            limits=Limits().overridden(task.limits) if task.limits else None,
            services=self._broker.channel(task.services) if task.services else None,
        )
        try:
            yield session
        finally:
            session.close()

    def play(self, turns: Sequence[str]) -> tuple[float, list[dict[str, Any]]]:
        """One episode of assistant turns: the reward and every step's info."""
        if time.monotonic() > self._deadline:
            raise OutOfTime
        _, reward, infos = play_turns(self.env, turns, seed=0)
        return reward, infos

    def answer(self, text: str, around: str = "{}") -> float:
        """The reward of answering at once. around: the turn, where {} is the answer as the dialect writes it."""
        written = self.env.dialect.write_answer(self.task, text)
        return self.say(around.replace("{}", written))

    def say(self, text: str) -> float:
        """The reward of this one turn, after the thought that the dialect's prefill opens."""
        close = "</think>" if self.env.dialect.prefill else ""
        return self.play([close + text])[0]

    def close(self) -> None:
        self.env.close()


def telling(truth: str) -> bool:
    """Whether an answer is one that does not stand in a text, or come out of a guess, by chance."""
    text = truth.strip().casefold()
    return len(text) >= TELLING_CHARS and text not in COMMON


def shows(result: ToolResult, truth: str) -> bool:
    """Whether a result shows the answer: as a whole value, or, when it is a telling one, as words of a text."""
    if any(same_answer(text, truth) for text in leaves(result.value, keys=False)):
        return True
    if isinstance(result.value, bool) and answer_text(result.value) == truth.casefold():
        return True
    return telling(truth) and any(mentions(text.casefold(), truth.casefold()) for text in heard(result))


def shown(value: Any, most: int = 120) -> str:
    """A value for a one-line text."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else text[: most - 3] + "..."


def call_shown(call: ToolCall) -> str:
    return f"{call.name}({', '.join(f'{name}={shown(value, 40)}' for name, value in call.arguments.items())})"
