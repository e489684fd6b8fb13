"""Checks of what a model may do to the tools: odd arguments, and how much comes back."""

import json
from collections.abc import Iterator
from typing import Any

from recall_env.check.bench import CALL_TIMEOUT_S, Bench, Note, call_shown, doubt, fault
from recall_env.check.probes import first_calls
from recall_env.errors import SandboxFailure
from recall_env.sandbox.limits import CEILING, Limits
from recall_env.schema import argument_error, function_of
from recall_env.task import Task
from recall_env.tool_call import ToolCall

ENDED = ("timeout", "out_of_memory", "violation")  # after which the episode answers nothing more
MAX_RESULT_CHARS = 4000  # more than this of one result crowds out a model's context
MAX_CALLS = 400  # of a task that are made up
MAX_DEAD = 1  # findings of one tool; each costs seconds

TEXTS = ("", " ", "0", "null", "x" * 20_000, "é" * 300, "東京\U0001f914", "\u202e\x00\x1b[0m", "'; DROP TABLE t; --")
NUMBERS = (0, -1, 2**31, 2**63, 10**18, -(10**18), 1.5, 1e308, 5e-324)
OTHERS = (None, True, [], {}, ["x"] * 500, {"k": {"k": {"k": []}}}, [[[[0]]]])
ODD = (*TEXTS, *NUMBERS, *OTHERS)


def arguments(bench: Bench) -> Iterator[Note]:
    """Wrong, huge, Unicode and missing arguments come back with a status; what a schema lets in ends no episode."""
    task = bench.task
    for tool in map(function_of, task.schemas):
        parameters = tool.get("parameters") or {}
        for name, part in parameters.get("properties", {}).items():
            if not isinstance(part, dict) or not part.keys() & {"type", "enum", "const", "anyOf", "oneOf", "$ref"}:
                yield doubt(f"tool {tool['name']!r}: argument {name!r} has no type, so anything passes")
        calls = list(odd_calls(task, tool, MAX_CALLS // len(task.schemas)))
        yield from _made(bench, parameters, calls)


def _made(bench: Bench, parameters: dict[str, Any], calls: list[ToolCall]) -> Iterator[Note]:
    """Make the calls, in a new episode whenever one has ended."""
    dead = 0
    while calls and dead < MAX_DEAD:
        with bench.session() as session:
            while calls:
                call = calls.pop(0)
                try:
                    status = session.call(call.name, call.arguments, CALL_TIMEOUT_S).status
                except SandboxFailure as error:
                    yield fault(f"{call_shown(call)} breaks the sandbox: {error}")
                    return
                if status in ENDED:
                    if argument_error(parameters, call.arguments) is None:
                        if status == "timeout" and not _is_slow(bench, call):
                            break
                        dead += 1
                        yield fault(f"{call_shown(call)} fits the schema and ends the episode: {status}")
                    break


def _is_slow(bench: Bench, call: ToolCall) -> bool:
    """Whether a call that ran out of our time needs more than twice its own, however busy this machine is."""
    limit_s = 2 * Limits().overridden(bench.task.limits).call_timeout_s
    with bench.session(limits={**bench.task.limits, "call_timeout_s": min(limit_s, CEILING.call_timeout_s)}) as session:
        return session.call(call.name, call.arguments).status == "timeout"


def odd_calls(task: Task, tool: dict[str, Any], most: int) -> Iterator[ToolCall]:
    """Calls of a tool with one argument replaced by something odd, one left out, one too many, or none."""
    parameters = tool.get("parameters") or {}
    usual = usual_arguments(task, tool["name"], parameters)
    yield ToolCall(tool["name"], {})
    yield ToolCall(tool["name"], {**usual, "no_such_argument": 1})
    for left_out in usual:
        yield ToolCall(tool["name"], {name: value for name, value in usual.items() if name != left_out})
    names = list(parameters.get("properties", {}))
    for number, value in enumerate(ODD * len(names)):
        if number >= most:
            return
        yield ToolCall(tool["name"], {**usual, names[number // len(ODD)]: value})


def usual_arguments(task: Task, name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """What the gold solution gives the tool, or something that fits the schema's types."""
    for call in task.solution.calls if task.solution else ():
        if call.name == name:
            return call.arguments
    properties = parameters.get("properties", {})
    return {name: usual_value(properties.get(name)) for name in parameters.get("required", [])}


def usual_value(schema: Any) -> Any:
    schema = schema if isinstance(schema, dict) else {}
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "string")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    return {"integer": 3, "number": 2.5, "boolean": True, "array": [], "object": {}, "null": None}.get(kind, "lamp")


def outputs(bench: Bench) -> Iterator[Note]:
    """What the gold calls, and single calls from the question, bring back fits the limit and a model's context."""
    task = bench.task
    if not task.solution:
        return
    told = list(zip(task.solution.calls, bench.gold, strict=True))
    told += [(probe, bench.replay([probe], timeout_s=CALL_TIMEOUT_S)[0]) for probe in first_calls(task, 12)]
    said = set()
    for call, result in told:
        chars = len(json.dumps(result.value)) + len(result.stdout)
        if result.status == "output_truncated" and call.name not in said:
            said.add(call.name)
            yield fault(f"{call_shown(call)} brings back more than the limit lets through")
        elif chars > MAX_RESULT_CHARS and call.name not in said:
            said.add(call.name)
            yield doubt(f"{call_shown(call)} brings back {chars} characters")
