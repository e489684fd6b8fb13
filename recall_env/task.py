"""Task: one data point, and the row of ReCall's Parquet it is read from and written to.

A Task holds the ground truth and the gold solution; both stay on the host. Sets of tasks are in taskset.py.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recall_env.answer import EXTRACTORS
from recall_env.errors import TaskError
from recall_env.nearest import did_you_mean
from recall_env.sandbox.broker import placeholders
from recall_env.sandbox.limits import Limits
from recall_env.schema import function_of
from recall_env.tool_call import ToolCall

__all__ = ["Row", "Solution", "Task"]

Row = dict[str, Any]  # of ReCall's Parquet, as a dict: the columns are in docs/make_data.md

_ROW_KEYS = ("data_source", "question", "ability", "reward_model", "extra_info")
EXTRA_INFO_KEYS = (
    *("id", "env", "func_schemas", "solution", "state", "family", "difficulty", "n_calls", "services", "license"),
    *("extractor", "limits", "final_state"),
)


@dataclass(frozen=True)
class Solution:
    """The gold calls, in order, and the answer they lead to."""

    calls: tuple[ToolCall, ...]
    answer: str


@dataclass(frozen=True)
class Task:
    """One data point.

    source: Python that defines the tools. schemas: their OpenAI tool schemas. ground_truth: the accepted answers.
    state: plain JSON, given to the source's `setup(state)`. extractor: names one of `answer.EXTRACTORS`.
    services: the host's services its tools may ask. limits: fields of `sandbox.Limits` that differ for this task.
    final_state: plain JSON, what a rubric's StateEquals expects; like the ground truth it stays on the host.
    extra: unknown keys of the row by level ("row", "reward_model", "extra_info", "solution", "calls").

    The last two fields keep the row's own form: `schemas_text` is the JSON as it stood there (the `recall` dialect
    pastes it into its prompt), `truth_is_text` that the ground truth was one text and no list.
    """

    id: str
    question: str
    source: str
    schemas: tuple[dict[str, Any], ...]
    ground_truth: tuple[str, ...]
    solution: Solution | None = None
    state: Any = None
    family: str | None = None
    difficulty: int | float | str | None = None
    n_calls: int | None = None
    services: tuple[str, ...] = ()
    license: str | None = None
    data_source: str = "syntool_re_call"  # ReCall routes rewards by it: anything that holds "re_call"
    ability: str = "re_call"
    extractor: str | None = None
    limits: Mapping[str, int | float] = field(default_factory=dict)
    final_state: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    schemas_text: str | None = field(default=None, compare=False)
    truth_is_text: bool = False

    @staticmethod
    def from_row(row: Row, where: str = "") -> "Task":
        """Read a row of ReCall's Parquet, or the same as a dict. Keys that hold None count as absent.

        `solution` and `state` may be JSON texts or objects. Raises TaskError: `where`, the column, the reason.
        """
        return _read_row(row, where)

    def to_row(self) -> Row:
        """The row `from_row` reads back to an equal Task; `func_schemas`, `solution` and `state` are JSON texts."""
        return _write_row(self)

    @functools.cached_property
    def content_hash(self) -> str:
        """SHA-256 of what is played and scored (question, tools, state, truth): two ids may share one content."""
        content = [self.question, self.source, list(self.schemas), list(self.ground_truth), self.state]
        if self.final_state is not None:
            content.append(self.final_state)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def tool_names(self) -> tuple[str, ...]:
        """Names of its tools, in the order of `schemas`."""
        return tuple(function_of(schema)["name"] for schema in self.schemas)

    @property
    def calls_needed(self) -> int | None:
        """`n_calls`, or the length of the gold solution where the row does not say."""
        if self.n_calls is None and self.solution is not None:
            return len(self.solution.calls)
        return self.n_calls


class _Level:
    """One dict of a row; takes keys out of it by type, and says where it stands when one is wrong."""

    def __init__(self, fields: Any, where: str, path: str):
        self.where, self.path = where, path
        if not isinstance(fields, Mapping):
            raise self.error("", "an object", fields)
        self.fields = fields

    def error(self, key: str, expected: str, got: Any) -> TaskError:
        path = ".".join(part for part in (self.path, key) if part)
        shown = "nothing" if got is None else repr(got)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        return TaskError(": ".join(p for p in (self.where, path) if p) + f": expected {expected}, got {shown}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self.fields.get(key)
        value = default if value is None else value
        if not isinstance(value, str):
            raise self.error(key, "text", value)
        return value

    def optional(self, key: str, types: type | tuple[type, ...], expected: str) -> Any:
        value = self.fields.get(key)
        if value is not None and (not isinstance(value, types) or isinstance(value, bool)):
            raise self.error(key, expected, value)
        return value

    def json(self, key: str) -> Any:
        """The value under key, parsed when it is a JSON text."""
        value = self.fields.get(key)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as e:
            raise self.error(key, f"JSON ({e})", value) from e

    def others(self, known: tuple[str, ...]) -> dict[str, Any]:
        return {key: value for key, value in self.fields.items() if key not in known}


def _read_row(row: Row, where: str) -> Task:
    top = _Level(row, where, "")
    reward_model = _Level(top.fields.get("reward_model"), where, "reward_model")
    info = _Level(top.fields.get("extra_info"), where, "extra_info")
    ground_truth, truth_is_text = _ground_truth(reward_model)
    schemas = _schemas(info)
    style = reward_model.fields.get("style")  # to_row writes "rule" itself
    solution, solution_extra = _solution(info)
    extra = {
        "row": top.others(_ROW_KEYS),
        "reward_model": reward_model.others(("ground_truth", "style" if style == "rule" else "")),
        "extra_info": info.others(EXTRA_INFO_KEYS),
        **solution_extra,
    }
    schemas_text = info.fields.get("func_schemas")
    task = Task(
        id=info.text("id", default=""),
        question=top.text("question"),
        source=info.text("env"),
        schemas=schemas,
        ground_truth=ground_truth,
        solution=solution,
        state=info.json("state"),
        family=info.optional("family", str, "text"),
        difficulty=info.optional("difficulty", (int, float, str), "a number or text"),
        n_calls=info.optional("n_calls", int, "an integer"),
        services=_texts(info, "services") or placeholders(info.text("env")),
        license=info.optional("license", str, "text"),
        data_source=top.text("data_source", default=""),
        ability=top.text("ability", default=""),
        extractor=_extractor(info),
        limits=_limits(info),
        final_state=info.json("final_state"),
        extra={level: unknown for level, unknown in extra.items() if unknown},
        schemas_text=schemas_text if isinstance(schemas_text, str) else None,
        truth_is_text=truth_is_text,
    )
    if not task.id:  # ReCall never reads the id, so a row without one is playable: name it by its content
        object.__setattr__(task, "id", task.content_hash[:16])
    return task


def _ground_truth(level: _Level) -> tuple[tuple[str, ...], bool]:
    truth = level.fields.get("ground_truth")
    if isinstance(truth, str):
        return (truth,), True
    if not isinstance(truth, list | tuple) or not truth or not all(isinstance(text, str) for text in truth):
        raise level.error("ground_truth", "text or a list of texts", truth)
    return tuple(truth), False


def _schemas(level: _Level) -> tuple[dict[str, Any], ...]:
    schemas = level.json("func_schemas")
    if not isinstance(schemas, list):
        raise level.error("func_schemas", "a JSON list of tool schemas", schemas)
    seen = set()
    for number, schema in enumerate(schemas):
        function = function_of(schema) if isinstance(schema, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not name:
            raise level.error(f"func_schemas[{number}]", "a tool schema with a name", schema)
        if not isinstance(function.get("parameters", {}), dict):
            raise level.error(f"func_schemas[{number}].parameters", "a JSON Schema object", function["parameters"])
        if name in seen:
            raise level.error(f"func_schemas[{number}].name", "a name of its own", name)
        seen.add(name)
    return tuple(schemas)


def _solution(info: _Level) -> tuple[Solution | None, dict[str, Any]]:
    fields = info.json("solution")
    if fields is None:
        return None, {}
    level = _Level(fields, info.where, "extra_info.solution")
    listed = fields.get("calls")
    if not isinstance(listed, list | tuple):
        raise level.error("calls", "a list of calls", listed)
    calls, others = [], []
    for number, call in enumerate(listed):
        one = _Level(call, info.where, f"extra_info.solution.calls[{number}]")
        arguments = one.json("arguments")
        if not isinstance(arguments, dict):
            raise one.error("arguments", "an object", arguments)
        calls.append(ToolCall(one.text("name"), arguments))
        others.append(one.others(("name", "arguments")))
    extra = {"solution": level.others(("calls", "answer")), "calls": others if any(others) else []}
    return Solution(tuple(calls), level.text("answer")), extra


def _texts(level: _Level, key: str) -> tuple[str, ...]:
    value = level.fields.get(key)
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise level.error(key, "a list of texts", value)
    return tuple(value)


def _extractor(level: _Level) -> str | None:
    name = level.optional("extractor", str, "text")
    if name is not None and name not in EXTRACTORS:
        raise level.error("extractor", f"one of {', '.join(EXTRACTORS)}{did_you_mean(name, EXTRACTORS)}", name)
    return name


def _limits(level: _Level) -> dict[str, int | float]:
    changes = level.json("limits")
    if changes is None:
        return {}
    if not isinstance(changes, Mapping):
        raise level.error("limits", "an object of limits", changes)
    try:
        Limits().overridden(changes)
    except (TypeError, ValueError) as e:
        raise level.error("limits", f"limits that a task may have ({str(e).removeprefix('limits: ')})", changes) from e
    return dict(changes)


def _write_row(task: Task) -> Row:
    extra = task.extra
    info: Row = {
        "id": task.id,
        "env": task.source,
        "func_schemas": task.schemas_text
        if task.schemas_text is not None
        else json.dumps(list(task.schemas), indent=4, ensure_ascii=False),
    }
    if task.solution is not None:
        others = extra.get("calls") or [{}] * len(task.solution.calls)
        calls = [
            {"name": call.name, "arguments": call.arguments, **unknown}
            for call, unknown in zip(task.solution.calls, others, strict=True)
        ]
        fields = {"calls": calls, "answer": task.solution.answer, **extra.get("solution", {})}
        info["solution"] = json.dumps(fields, ensure_ascii=False)
    if task.state is not None:
        info["state"] = json.dumps(task.state, ensure_ascii=False)
    if task.final_state is not None:
        info["final_state"] = json.dumps(task.final_state, ensure_ascii=False)
    if task.services and task.services != placeholders(task.source):  # ReCall's own rows do not have the key
        info["services"] = list(task.services)
    if task.limits:
        info["limits"] = json.dumps(task.limits)
    for key in ("family", "difficulty", "n_calls", "license", "extractor"):
        if getattr(task, key) is not None:
            info[key] = getattr(task, key)
    truth = task.ground_truth[0] if task.truth_is_text and len(task.ground_truth) == 1 else list(task.ground_truth)
    return {
        "data_source": task.data_source,
        "question": task.question,
        "ability": task.ability,
        "reward_model": {"style": "rule", **extra.get("reward_model", {}), "ground_truth": truth},
        "extra_info": {**info, **extra.get("extra_info", {})},
        **extra.get("row", {}),
    }
