"""Playing calls against a tool source: resolving a draft's plan, replaying a solution.

`Trusted` runs sources in this process. It is for sources that `generate` has just written itself, which are templates
of this package filled with words of its lexicon; a source from anywhere else belongs in the jail. It is not a backend
of `recall_env.sandbox`.
"""

import functools
import json
import re
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import Any

from envs_synthetic.draft import Draft, Path, Ref
from recall_env.errors import EnvError
from recall_env.task import Task
from recall_env.tool_call import ToolCall, ToolResult


class TrustedSession:
    def __init__(self, source: str, state: Any) -> None:
        self.names: dict[str, Any] = {"__name__": "tools"}
        try:
            exec(compiled(source), self.names)
            if "setup" in self.names:
                self.names["setup"](json.loads(json.dumps(state)))
        except Exception as error:
            raise EnvError(f"{type(error).__name__}: {error}") from error

    def call(self, name: str, arguments: dict[str, Any]) -> ToolResult:
        try:
            value = self.names[name](**json.loads(json.dumps(arguments)))
        except Exception as error:
            text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
            return ToolResult("tool_error", error_type=type(error).__name__, error_message=text)
        return ToolResult("ok", json.loads(json.dumps(value)))

    def close(self) -> None:
        self.names.clear()


@functools.lru_cache(maxsize=32)
def compiled(source: str) -> CodeType:
    return compile(source, "<tools>", "exec")


class Trusted:
    """A Pool (recall_env.sandbox.session) without a jail, for sources made here."""

    def open(self, source: str, *, state: Any = None, seed: int = 0, limits=None, mode="stateful") -> TrustedSession:
        return TrustedSession(source, state)

    def close(self) -> None:
        pass


class PlanError(ValueError):
    """A draft whose plan cannot be played: a call failed that should not, or a Ref points nowhere."""


def resolve(draft: Draft, pool: Any) -> tuple[list[ToolCall], str]:
    """Play the draft's plan: (the calls with concrete arguments, the truth)."""
    session = pool.open(draft.source, state=draft.state)
    results: list[ToolResult] = []
    calls = []
    try:
        for step in draft.steps:
            arguments = {name: settle(value, results) for name, value in step.arguments.items()}
            result = session.call(step.tool, arguments)
            if (result.status == "tool_error") != step.fails or result.status not in ("ok", "tool_error"):
                raise PlanError(f"{step.tool}({arguments}) came back as {result.status}: {result.error_message}")
            results.append(result)
            calls.append(ToolCall(step.tool, arguments))
    finally:
        session.close()
    return calls, answer_text(settle(draft.answer, results))


def settle(value: Any, results: list[ToolResult]) -> Any:
    if isinstance(value, list):
        return [settle(item, results) for item in value]
    if not isinstance(value, Ref):
        return value
    found = at_path(results[value.step].value, value.path)
    if value.pattern is None:
        return found
    match = re.search(value.pattern, found)
    if match is None:
        raise PlanError(f"no {value.pattern!r} in {found!r}")
    return match[1]


def at_path(value: Any, path: Path) -> Any:
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError) as error:
            raise PlanError(f"a result has nothing at {list(path)}: {value!r}") from error
    return value


def answer_text(value: Any) -> str:
    """How an answer is written: text as it is, numbers as JSON writes them."""
    return value if isinstance(value, str) else json.dumps(value)


def replay(task: Task, pool: Any, calls: Sequence[ToolCall] | None = None) -> list[ToolResult]:
    """The results of the gold calls (or of `calls`) in one fresh episode of the task."""
    session = pool.open(task.source, state=task.state, seed=0)
    try:
        return [session.call(call.name, call.arguments) for call in (task.solution.calls if calls is None else calls)]
    finally:
        session.close()


def replay_rebound(task: Task, pool: Any, original: list[ToolResult]) -> list[ToolResult]:
    """Replay the gold calls where arguments that came from results follow the results of *this* replay.

    original: the results of the gold calls in the unchanged task. An argument that stands in the question is kept.
    Raises PlanError when a result lacks the place an argument came from.
    """
    session = pool.open(task.source, state=task.state, seed=0)
    results: list[ToolResult] = []
    try:
        for number, call in enumerate(task.solution.calls):
            arguments = rebind(call.arguments, task.question, original[:number], results)
            results.append(session.call(call.name, arguments))
    finally:
        session.close()
    return results


def rebind(value: Any, question: str, original: list[ToolResult], results: list[ToolResult]) -> Any:
    if isinstance(value, dict):
        return {key: rebind(item, question, original, results) for key, item in value.items()}
    if isinstance(value, list):
        return [rebind(item, question, original, results) for item in value]
    if mentions(question, answer_text(value)):
        return value
    for number in reversed(range(len(original))):
        for path, found in places(original[number].value):
            if found == value and type(found) is type(value):
                return at_path(results[number].value, path)
    return value


def places(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path, value) of everything inside plain JSON that holds nothing else."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))
    else:
        yield path, value


def derive(task: Task, results: list[ToolResult]) -> str:
    """The answer as the last result holds it: at the place the row's solution names, else its only value.

    The row's solution may name `answer_at` (a path of keys) and `answer_match` (a pattern whose first group it is).
    Raises PlanError when there is nothing at that place.
    """
    where = task.extra.get("solution", {})
    last = results[-1].value
    if "answer_at" not in where and isinstance(last, dict | list):
        only = leaves(last, keys=False)
        if len(only) != 1:
            raise PlanError(f"the last result holds {len(only)} values, and the solution has no answer_at")
        return only[0]
    ref = Ref(0, tuple(where.get("answer_at", ())), where.get("answer_match"))
    return answer_text(settle(ref, results[-1:]))


def leaves(value: Any, keys: bool = True) -> list[str]:
    """Every text and number inside plain JSON, as text; with the keys of its objects unless told otherwise."""
    if isinstance(value, dict):
        inner = [text for item in value.values() for text in leaves(item, keys)]
        return [*value, *inner] if keys else inner
    if isinstance(value, list):
        return [text for item in value for text in leaves(item, keys)]
    return [] if value is None or isinstance(value, bool) else [answer_text(value)]


def mentions(text: str, atom: str) -> bool:
    """Does the text hold the atom as a whole word (or number, or phrase)?"""
    return re.search(rf"(?<!\w){re.escape(atom)}(?!\w)", text) is not None
