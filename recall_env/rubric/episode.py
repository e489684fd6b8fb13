"""Episode and Score: what a rubric reads, and what it makes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from recall_env.task import Task
from recall_env.tool_call import PlayedCall, ToolResult

Termination = Literal["answer", "max_turns", "budget", "infra"]  # how an episode ended; infra: by our own fault
Verdict = dict[str, Any]  # what a judge said: {"score": 0 to 1, "reason": text}


class PlayedTurn(NamedTuple):
    """One assistant turn as it was written (its prefill included), and what its calls came to."""

    text: str
    results: tuple[PlayedCall, ...] = ()


@dataclass(frozen=True)
class Episode:
    """One play of a Task, as text, finished.

    final_state: what the functions that the rubric asks for (`StateEquals`) returned after the last turn, by name.
    verdicts: of judges, by the key of what they were asked. offline: a judge answers from these and asks nobody.
    """

    task: Task
    turns: tuple[PlayedTurn, ...]
    answer: str | None
    termination: Termination
    final_state: Mapping[str, ToolResult] = field(default_factory=dict)
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    offline: bool = False

    @property
    def results(self) -> list[PlayedCall]:
        """Every call with what it came to, over all turns, in order."""
        return [pair for turn in self.turns for pair in turn.results]

    @property
    def final_text(self) -> str:
        """The last assistant turn as it was written."""
        return self.turns[-1].text if self.turns else ""


@dataclass(frozen=True)
class Score:
    """total: the reward. values: every part's own value, before its weight, by its path. verdicts: of judges."""

    total: float
    values: dict[str, float]
    verdicts: dict[str, Verdict] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """What a part returns that had somebody else decide: its value, and what is to be kept of the decision."""

    value: float
    key: str
    verdict: Verdict
