"""Probes: single calls that a model could make from the question alone."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

from recall_env.check.gold_calls import leaves, mentions
from recall_env.schema import argument_error, function_of
from recall_env.task import Task
from recall_env.tool_call import ToolCall

MAX_COMBINATIONS = 10_000  # of arguments of one tool that are looked at


def first_calls(task: Task, most: int) -> list[ToolCall]:
    """At most so many calls whose arguments stand in the question; the gold ones among them come first."""
    atoms = {}
    for call in task.solution.calls:
        for value in call.arguments.values():
            if isinstance(value, str | int | float) and mentions(task.question, leaves(value)[0]):
                atoms[json.dumps(value)] = value
    gold = [call for call in task.solution.calls if _is_probe(call, task, atoms)]
    others = (probe for probe in _every(task, list(atoms.values())) if probe not in gold)
    return list(itertools.islice(itertools.chain(gold, others), most))


def _is_probe(call: ToolCall, task: Task, atoms: dict[str, Any]) -> bool:
    """Whether a call has just the required arguments, each an atom (by its JSON), and fits its schema."""
    tool = next(tool for tool in map(function_of, task.schemas) if tool["name"] == call.name)
    parameters = tool.get("parameters") or {}
    known = all(json.dumps(value) in atoms for value in call.arguments.values())
    required = set(parameters.get("required", []))
    return known and set(call.arguments) == required and argument_error(parameters, call.arguments) is None


def _every(task: Task, atoms: list[Any]) -> Iterator[ToolCall]:
    """Every tool with atoms for its required arguments, lazily: of many arguments there are more than can be made."""
    for tool in map(function_of, task.schemas):
        parameters = tool.get("parameters") or {}
        names = parameters.get("required", [])
        for values in itertools.islice(itertools.product(atoms, repeat=len(names)), MAX_COMBINATIONS):
            arguments = dict(zip(names, values, strict=True))
            if argument_error(parameters, arguments) is None:
                yield ToolCall(tool["name"], arguments)
