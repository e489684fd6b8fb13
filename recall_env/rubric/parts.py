"""The parts that look at an episode and ask nobody."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any

from recall_env.answer import as_number, normalised, same_answer, token_f1
from recall_env.dialect import recall
from recall_env.errors import EnvError, RecallError
from recall_env.nearest import did_you_mean, listed
from recall_env.rubric.episode import Episode
from recall_env.rubric.tree import part
from recall_env.tool_call import AGENT_STATUSES, ToolCall

_WIDE = Context(prec=60, Emax=MAX_EMAX, Emin=MIN_EMIN)  # room for every number that an answer may spell: 9e999999


@part
@dataclass(frozen=True)
class Exact:
    """1 when the answer is an accepted one (`answer.same_answer`), else 0."""

    def __call__(self, episode: Episode) -> float:
        if episode.answer is None:
            return 0.0
        return float(any(same_answer(episode.answer, truth) for truth in episode.task.ground_truth))


@part
@dataclass(frozen=True)
class Numeric:
    """1 when the answer is a number within a tolerance of an accepted one, else 0.

    The larger of abs_tol and rel_tol times the accepted number is the tolerance, its edge included.
    """

    rel_tol: float = 0.01
    abs_tol: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rel_tol", "abs_tol"):
            if not 0 <= _real(getattr(self, name), f"Numeric: {name}") < math.inf:
                raise RecallError(f"Numeric: {name}: expected a number of at least 0, got {getattr(self, name)!r}")

    def __call__(self, episode: Episode) -> float:
        answer = None if episode.answer is None else as_number(normalised(episode.answer))
        if answer is None:
            return 0.0
        truths = (as_number(normalised(truth)) for truth in episode.task.ground_truth)
        return float(any(truth is not None and self._near(answer, truth) for truth in truths))

    def _near(self, answer: Decimal, truth: Decimal) -> bool:
        relative = _WIDE.multiply(Decimal(str(self.rel_tol)), _WIDE.abs(truth))
        return _WIDE.abs(_WIDE.subtract(answer, truth)) <= max(relative, Decimal(str(self.abs_tol)))


@part
@dataclass(frozen=True)
class F1:
    """ReCall's token F1 of the answer against the best accepted one."""

    def __call__(self, episode: Episode) -> float:
        return 0.0 if episode.answer is None else token_f1(episode.answer, episode.task.ground_truth)


@part
@dataclass(frozen=True)
class SetMatch:
    """1 when the answer lists the items of an accepted one, in any order, else 0; with partial, the F1 of the items.

    Items are compared as `same_answer` compares answers, fractions digit for digit; an item given twice counts once.
    """

    separator: str = ","
    partial: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.separator, str) or not self.separator:
            raise RecallError(f"SetMatch: separator: expected text, got {self.separator!r}")

    def __call__(self, episode: Episode) -> float:
        if episode.answer is None:
            return 0.0
        given = self._items(episode.answer)
        best = max((_overlap(given, self._items(truth)) for truth in episode.task.ground_truth), default=0.0)
        return best if self.partial else float(best == 1.0)

    def _items(self, text: str) -> set[str | Decimal]:
        items = (normalised(item) for item in text.split(self.separator) if item.strip())
        return {number if (number := as_number(item)) is not None else item for item in items}


@part
@dataclass(frozen=True)
class StateEquals:
    """1 when the state that the tools are in after the last turn is the one the task expects, else 0.

    The environment calls `function`, a function of the tool source without arguments that no schema shows to the
    model, before the session ends. What it returns is compared on the host with `extra_info.final_state` of the task:
    numbers as numbers, floats to a relative 1e-9.
    """

    function: str = "final_state"

    def __post_init__(self) -> None:
        if not isinstance(self.function, str) or not self.function.isidentifier() or self.function.startswith("_"):
            raise RecallError(f"StateEquals: function: expected a name without a leading _, got {self.function!r}")

    def __call__(self, episode: Episode) -> float:
        if episode.task.final_state is None:
            raise EnvError(f"task {episode.task.id} has no extra_info.final_state to compare with")
        if self.function not in episode.final_state:
            raise EnvError(f"the episode was recorded without what {self.function}() returned at its end")
        result = episode.final_state[self.function]
        if result.status == "unknown_tool":
            raise EnvError(f"the source of task {episode.task.id} defines no function {self.function}()")
        return float(result.ok and _same_json(result.value, episode.task.final_state))


@part
@dataclass(frozen=True)
class ToolUsed:
    """1 when a tool was called, and came back ok, at least and at most so many times, else 0."""

    tool: str
    at_least: int = 1
    at_most: int | None = None

    def __post_init__(self) -> None:
        _whole(self.at_least, "ToolUsed: at_least")
        if self.at_most is not None and _whole(self.at_most, "ToolUsed: at_most") < self.at_least:
            raise RecallError(f"ToolUsed: at_most {self.at_most} is below at_least {self.at_least}")

    def __call__(self, episode: Episode) -> float:
        used = sum(result.ok and call.name == self.tool for call, result in episode.results)
        return float(self.at_least <= used and (self.at_most is None or used <= self.at_most))


@part
@dataclass(frozen=True)
class Budget:
    """1 within so many calls (or turns); beyond, falling evenly, to 0 at zero_at (twice as many, unless said).

    Every call counts, the failed too. Give calls or turns, not both.
    """

    calls: int | None = None
    turns: int | None = None
    zero_at: int | None = None

    def __post_init__(self) -> None:
        if (self.calls is None) == (self.turns is None):
            raise RecallError("Budget: give calls or turns, one of the two")
        most = _whole(self._most, "Budget: calls or turns")
        if self.zero_at is not None and _whole(self.zero_at, "Budget: zero_at") <= most:
            raise RecallError(f"Budget: zero_at: expected more than {most}, got {self.zero_at}")

    @property
    def _most(self) -> int:
        return self.turns if self.calls is None else self.calls

    def __call__(self, episode: Episode) -> float:
        used = len(episode.turns) if self.calls is None else len(episode.results)
        zero_at = max(2 * self._most, 1) if self.zero_at is None else self.zero_at
        return min(1.0, max(0.0, (zero_at - used) / (zero_at - self._most)))


@part
@dataclass(frozen=True)
class Format:
    """1 when a check of form passes, else 0.

    answer: the episode ended with an answer that could be found. calls: every call could be read and named a tool with
    arguments that fit. recall: the original ReCall's check, for its dialect.
    """

    kind: str = "answer"

    def __post_init__(self) -> None:
        if self.kind not in _FORMATS:
            hint = did_you_mean(str(self.kind), _FORMATS) or f"; there are: {listed(_FORMATS)}"
            raise RecallError(f"Format: no kind {self.kind!r}{hint}")

    def __call__(self, episode: Episode) -> float:
        return float(_FORMATS[self.kind](episode))


@part
@dataclass(frozen=True)
class Progress:
    """Fraction of the gold solution's distinct calls (name and arguments) made with status ok, in any order."""

    def __call__(self, episode: Episode) -> float:
        if episode.task.solution is None or not episode.task.solution.calls:
            return 0.0
        gold = {_canonical(call) for call in episode.task.solution.calls}
        made = {_canonical(call) for call, result in episode.results if result.ok}
        return len(gold & made) / len(gold)


@part
@dataclass(frozen=True)
class ValidCalls:
    """Fraction of the calls that came back ok; 0 when none was made."""

    def __call__(self, episode: Episode) -> float:
        results = episode.results
        return sum(result.ok for _, result in results) / len(results) if results else 0.0


@part
@dataclass(frozen=True)
class ReCallReward:
    """ReCall's reward: 0 for bad form; else F1, or 0.1 where F1 is 0. So a barely overlapping answer (0.03) earns
    less than a wrong one: a quirk of the original, kept."""

    def __call__(self, episode: Episode) -> float:
        found = recall.boxed(episode.final_text.strip())
        if not _recall_format(episode) or found is None:
            return 0.0
        overlap = token_f1(found, episode.task.ground_truth)
        return overlap if overlap > 0 else 0.1


def _has_answer(episode: Episode) -> bool:
    return episode.termination == "answer" and episode.answer is not None


def _calls_fit(episode: Episode) -> bool:
    return not any(result.status in AGENT_STATUSES for _, result in episode.results)


def _recall_format(episode: Episode) -> bool:
    r"""ReCall's: the episode ended with an answer; every turn has <think> in pairs, at least one; <tool_call> in pairs,
    each around JSON that spells "name" and "arguments"; the last turn spells \box."""
    if episode.termination != "answer":
        return False
    return all(_well_formed(turn.text) for turn in episode.turns) and "\\box" in episode.final_text


_FORMATS: dict[str, Callable[[Episode], bool]] = {"answer": _has_answer, "calls": _calls_fit, "recall": _recall_format}


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


def _same_json(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float) and float in (type(one), type(other)):
        try:
            return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
        except OverflowError:  # a whole number that no float holds
            return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same_json(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same_json, one, other))
    return one == other


def _overlap(given: set, wanted: set) -> float:
    """F1 of two sets; of two empty ones, 1."""
    if not given and not wanted:
        return 1.0
    return 2 * len(given & wanted) / (len(given) + len(wanted))


def _real(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecallError(f"{where}: expected a number, got {value!r}")
    return value


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RecallError(f"{where}: expected a whole number of at least 0, got {value!r}")
    return value
