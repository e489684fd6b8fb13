"""Rubrics: rewards as named, weighted parts of a finished episode. They run on the host; the jail sees none of it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from recall_env.answer import same_answer, token_f1
from recall_env.dialect import recall
from recall_env.task import Task
from recall_env.tool_call import ToolCall, ToolResult

Termination = Literal["answer", "max_turns", "budget", "infra"]


@dataclass(frozen=True)
class PlayedTurn:
    """One assistant turn as it was written (its prefill included), and what its calls came to."""

    text: str
    results: tuple[tuple[ToolCall, ToolResult], ...] = ()


@dataclass(frozen=True)
class Episode:
    """One play of a Task, as text, finished."""

    task: Task
    turns: tuple[PlayedTurn, ...]
    answer: str | None
    termination: Termination

    @property
    def results(self) -> list[tuple[ToolCall, ToolResult]]:
        return [pair for turn in self.turns for pair in turn.results]

    @property
    def final_text(self) -> str:
        return self.turns[-1].text if self.turns else ""


@dataclass(frozen=True)
class Score:
    """total: the reward. values: every part's own value, before its weight."""

    total: float
    values: dict[str, float]


@dataclass(frozen=True)
class Part:
    weight: float  # 0: only recorded
    value: Callable[[Episode], float]


@dataclass(frozen=True)
class Rubric:
    parts: dict[str, Part]

    def score(self, episode: Episode) -> Score:
        values = {name: float(part.value(episode)) for name, part in self.parts.items()}
        return Score(sum(part.weight * values[name] for name, part in self.parts.items()), values)


def answer(episode: Episode) -> float:
    """1 when the answer is an accepted one (`answer.same_answer`), else 0."""
    if episode.answer is None:
        return 0.0
    return float(any(same_answer(episode.answer, truth) for truth in episode.task.ground_truth))


def f1(episode: Episode) -> float:
    """ReCall's token F1 of the answer against the best accepted one."""
    return 0.0 if episode.answer is None else token_f1(episode.answer, episode.task.ground_truth)


def progress(episode: Episode) -> float:
    """Fraction of the gold solution's distinct calls (name and arguments) made with status ok, in any order."""
    if episode.task.solution is None or not episode.task.solution.calls:
        return 0.0
    gold = {_canonical(call) for call in episode.task.solution.calls}
    made = {_canonical(call) for call, result in episode.results if result.ok}
    return len(gold & made) / len(gold)


def valid_calls(episode: Episode) -> float:
    """Fraction of the calls that came back ok; 0 when none was made."""
    results = episode.results
    return sum(result.ok for _, result in results) / len(results) if results else 0.0


def recall_format(episode: Episode) -> float:
    r"""1 when ReCall's check of form passes, else 0.

    The episode ended with an answer; every turn has <think> in pairs, at least one; <tool_call> in pairs, each
    around JSON that spells "name" and "arguments"; the last turn spells \box.
    """
    if episode.termination != "answer":
        return 0.0
    return float(all(_well_formed(turn.text) for turn in episode.turns) and "\\box" in episode.final_text)


def recall_reward(episode: Episode) -> float:
    """ReCall's reward: 0 for bad form; else F1, or 0.1 where F1 is 0. So a barely overlapping answer (0.03) earns
    less than a wrong one: a quirk of the original, kept."""
    found = recall.boxed(episode.final_text.strip())
    if not recall_format(episode) or found is None:
        return 0.0
    overlap = token_f1(found, episode.task.ground_truth)
    return overlap if overlap > 0 else 0.1


def _well_formed(text: str) -> bool:
    thinks = text.count("<think>")
    if thinks == 0 or thinks != text.count("</think>") or text.count("<tool_call>") != text.count("</tool_call>"):
        return False
    position = text.find("<tool_call>")
    while position >= 0:
        stop = text.find("</tool_call>", position)
        if stop < 0:
            break
        call = text[position + len("<tool_call>") : stop].strip()
        if '"name"' not in call or '"arguments"' not in call or not _is_json(call):
            return False
        position = text.find("<tool_call>", stop)
    return True


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _canonical(call: ToolCall) -> str:
    return json.dumps([call.name, _plain_numbers(call.arguments)], sort_keys=True)


def _plain_numbers(value: Any) -> Any:
    """2.0 and 2 are one JSON number; Python writes them differently."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain_numbers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain_numbers(part) for part in value]
    return value


# An episode is a success when its `answer` part is 1, so every rubric has one.
RUBRICS: dict[str, Rubric] = {
    "answer": Rubric(
        {
            "answer": Part(1.0, answer),
            "f1": Part(0.0, f1),
            "format": Part(0.0, recall_format),
            "progress": Part(0.0, progress),
            "valid_calls": Part(0.0, valid_calls),
        }
    ),
    "progress": Rubric(
        {
            "answer": Part(0.6, answer),
            "progress": Part(0.4, progress),
            "f1": Part(0.0, f1),
            "format": Part(0.0, recall_format),
            "valid_calls": Part(0.0, valid_calls),
        }
    ),
    "recall": Rubric(
        {
            "recall": Part(1.0, recall_reward),
            "answer": Part(0.0, answer),
            "f1": Part(0.0, f1),
            "format": Part(0.0, recall_format),
            "progress": Part(0.0, progress),
            "valid_calls": Part(0.0, valid_calls),
        }
    ),
}
