"""Demonstrations for recall-tiny: gold solutions played with deliberate mistakes, in the real environment.

The mistakes are the point. A model that imitates them knows how to do a task and often does not; reinforcement
learning then has something to choose between. Every tool output is what the jail answered, never made up here.
"""

import os
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from recall_env.dialect import base
from recall_env.env import SynToolEnv
from recall_env.errors import EnvError
from recall_env.task import Task
from recall_env.taskset import TaskSet
from recall_env.tool_call import ToolCall
from recall_train.tiny.rename import content_words, renamed

Messages = list[dict[str, Any]]

CHUNK = 250  # tasks of one piece of work


@dataclass(frozen=True)
class Mistakes:
    """How often a demonstrator goes wrong: each is the chance at one decision."""

    give_up: float = 0.09  # answers before the last call, with some value seen so far
    wrong_answer: float = 0.2  # all calls made, then some other value as the answer
    wrong_value: float = 0.06  # one argument replaced by another value; goes on with the right call
    wrong_tool: float = 0.06  # another of the task's tools; goes on with the right call
    malformed: float = 0.03  # a call that is no JSON; goes on with the right call


@dataclass(frozen=True)
class Demonstration:
    """One episode as text: the prompt's messages and tools, then turns and replies in alternation."""

    tools: list[dict[str, Any]]
    opening: Messages
    turns: list[str]
    replies: list[Messages]  # one shorter than turns
    success: bool
    renamed: bool = False  # played on the task in other words (rename.py)


def demonstrate(env: SynToolEnv, task: Task, rng: random.Random, mistakes: Mistakes) -> Demonstration:
    """Play one task along its gold solution, straying as `mistakes` says."""
    _, info = env.reset(seed=rng.getrandbits(31), options={"task": task})
    opening, tools = info["messages"], info["tools"]
    gold = [(call.name, call.arguments) for call in task.solution.calls]
    seen = _Seen(gold)
    turns: list[str] = []
    replies: list[Messages] = []
    done = 0
    while True:
        right = done < len(gold)
        text, strayed = _decide(gold, done, task, seen, rng, mistakes)
        _, _, terminated, truncated, info = env.step(text)
        turns.append(text)
        if terminated or truncated:
            return Demonstration(tools, opening, turns, replies, bool(info.get("success")))
        replies.append(info["messages"])
        for call in info["tool_calls"]:
            seen.add(call["value"])
        done += right and not strayed


class _Seen:
    """Values that lie about in an episode: what a careless player would reach for."""

    def __init__(self, gold: list[tuple[str, dict[str, Any]]]):
        self.values = [v for _, arguments in gold[:1] for v in arguments.values() if isinstance(v, str | int | float)]

    def add(self, result: Any) -> None:
        if isinstance(result, dict):
            for value in result.values():
                self.add(value)
        elif isinstance(result, list):
            for value in result:
                self.add(value)
        elif isinstance(result, str | int | float) and not isinstance(result, bool):
            self.values.append(result)

    def other_than(self, value: Any, rng: random.Random) -> Any:
        others = [v for v in self.values if v != value and isinstance(v, str) == isinstance(value, str)]
        return rng.choice(others) if others else value


def _decide(
    gold: list[tuple[str, dict[str, Any]]],
    done: int,
    task: Task,
    seen: _Seen,
    rng: random.Random,
    mistakes: Mistakes,
) -> tuple[str, bool]:
    """(the turn's text, whether it strays from the gold solution)."""
    if done == len(gold):
        truth = task.solution.answer
        wrong = rng.random() < mistakes.wrong_answer
        return answer_text(str(seen.other_than(truth, rng)) if wrong else truth), False
    name, arguments = gold[done]
    draw = rng.random()
    for chance, stray in (
        (mistakes.give_up, lambda: answer_text(str(seen.other_than(None, rng) or rng.choice(seen.values or ["none"])))),
        (mistakes.wrong_value, lambda: _wrong_value(name, arguments, seen, rng)),
        (mistakes.wrong_tool, lambda: _wrong_tool(name, task, seen, rng)),
        (mistakes.malformed, lambda: _malformed(name, arguments, rng)),
    ):
        if draw < chance:
            return stray(), True
        draw -= chance
    return call_text(name, arguments), False


def call_text(name: str, arguments: dict[str, Any]) -> str:
    return base.call_text(ToolCall(name, arguments))


def answer_text(answer: str) -> str:
    return f"The answer is \\boxed{{{answer}}}"


def _wrong_value(name: str, arguments: dict[str, Any], seen: _Seen, rng: random.Random) -> str:
    if not arguments:
        return call_text(name, arguments)
    key = rng.choice(sorted(arguments))
    return call_text(name, {**arguments, key: seen.other_than(arguments[key], rng)})


def _wrong_tool(name: str, task: Task, seen: _Seen, rng: random.Random) -> str:
    functions = [schema["function"] for schema in task.schemas if schema["function"]["name"] != name]
    if not functions:
        return call_text(name, {})
    function = rng.choice(functions)
    arguments = {}
    for key in function["parameters"].get("required", []):
        kind = function["parameters"]["properties"][key].get("type")
        fitting = [v for v in seen.values if isinstance(v, str) == (kind == "string")]
        arguments[key] = rng.choice(fitting) if fitting else ""
    return call_text(function["name"], arguments)


def _malformed(name: str, arguments: dict[str, Any], rng: random.Random) -> str:
    text = call_text(name, arguments)
    mark = rng.choice(['", "arguments"', "}\n</tool_call>"])
    return text.replace(mark, mark[1:], 1)


@dataclass(frozen=True)
class Plan:
    """What to demonstrate: every task of a file `plain` times as it is and `renamed` times in other words."""

    tasks_file: Path
    seed: int
    plain: int = 1
    renamed: int = 1
    mistakes: Mistakes = field(default_factory=Mistakes)


def demonstrations(plan: Plan) -> Iterator[Demonstration]:
    """The demonstrations of each task, in the file's order; played by a process a core, each with its jails."""
    count = len(TaskSet.load(plan.tasks_file))
    starts = range(0, count, CHUNK)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        for part in pool.map(_demonstrate_chunk, [plan] * len(starts), starts):
            yield from part


def _demonstrate_chunk(plan: Plan, start: int) -> list[Demonstration]:
    tasks = TaskSet.load(plan.tasks_file)[start : start + CHUNK]
    words = sorted({word for task in tasks for word in content_words(task)})
    env = SynToolEnv(tasks=tasks, max_turns=12)
    played = []
    try:
        for number, task in enumerate(tasks, start):
            rng = random.Random(f"{plan.seed} {number}")
            played += [demonstrate(env, task, rng, plan.mistakes) for _ in range(plan.plain)]
            for _ in range(plan.renamed):
                other = renamed(task, rng, words)
                if _solvable(env, other):
                    played.append(replace(demonstrate(env, other, rng, plan.mistakes), renamed=True))
    finally:
        env.close()
    return played


def _solvable(env: SynToolEnv, task: Task) -> bool:
    """Whether the gold solution still succeeds: renaming may have hit a word that the source's code lives by."""
    env.reset(seed=0, options={"task": task})
    try:
        for call in task.solution.calls:
            if any(env.step(call_text(call.name, call.arguments))[2:4]):
                return False
        return env.step(answer_text(task.solution.answer))[4]["success"]
    except EnvError:
        return False
