"""Playing a task's own calls in a pool, and reading what comes back. Nothing is judged here."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from recall_env.sandbox.session import Session
from recall_env.task import Task
from recall_env.tool_call import ToolCall, ToolResult

Path = tuple[str | int, ...]  # keys and indices that lead into a result


class PlanError(ValueError):
    """Calls that cannot be played to their end: one failed that should not, or a result lacks a place to be read."""


def replay(task: Task, pool: Any, calls: Sequence[ToolCall] | None = None) -> list[ToolResult]:
    """The results of the gold calls (or of `calls`) in one fresh episode of the task."""
    session = pool.open(task.source, state=task.state, seed=0)
    try:
        return [session.call(call.name, call.arguments) for call in (task.solution.calls if calls is None else calls)]
    finally:
        session.close()


def rebound(
    session: Session, task: Task, original: list[ToolResult], timeout_s: float | None = None
) -> list[ToolResult]:
    """Make the gold calls where arguments that came from results follow the results of *this* session.

    original: the results of the gold calls in the unchanged task. An argument that stands in the question is kept.
    Raises PlanError when a result lacks the place an argument came from.
    """
    results: list[ToolResult] = []
    for number, call in enumerate(task.solution.calls):
        arguments = _rebind(call.arguments, task.question, original[:number], results)
        results.append(session.call(call.name, arguments, timeout_s))
    return results


def _rebind(value: Any, question: str, original: list[ToolResult], results: list[ToolResult]) -> Any:
    if isinstance(value, dict):
        return {key: _rebind(item, question, original, results) for key, item in value.items()}
    if isinstance(value, list):
        return [_rebind(item, question, original, results) for item in value]
    if mentions(question, answer_text(value)):
        return value
    for number in reversed(range(len(original))):
        for path, found in places(original[number].value):
            if found == value and type(found) is type(value):
                return at_path(results[number].value, path)
    return value


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
    return answer_text(read_at(last, tuple(where.get("answer_at", ())), where.get("answer_match")))


def read_at(value: Any, path: Path, pattern: str | None) -> Any:
    """What lies at the path; with a pattern, the first group of its first match there. Raises PlanError."""
    found = at_path(value, path)
    if pattern is None:
        return found
    match = re.search(pattern, found)
    if match is None:
        raise PlanError(f"no {pattern!r} in {found!r}")
    return match[1]


def at_path(value: Any, path: Path) -> Any:
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError) as error:
            raise PlanError(f"a result has nothing at {list(path)}: {value!r}") from error
    return value


def places(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path, value) of everything inside plain JSON that holds nothing else."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))
    else:
        yield path, value


def answer_text(value: Any) -> str:
    """How an answer is written: text as it is, numbers as JSON writes them."""
    return value if isinstance(value, str) else json.dumps(value)


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


def heard(result: ToolResult) -> list[str]:
    """Every text the model has read once a result came back."""
    return [*leaves(result.value), *([result.error_message] if result.error_message else [])]


def as_bytes(results: list[ToolResult]) -> bytes:
    return json.dumps([[r.status, r.value, r.stdout, r.error_type, r.error_message] for r in results]).encode()


def expected_failures(task: Task) -> list[bool]:
    """Which gold calls are declared to come back as the tool's own error (flaky tools)."""
    notes = task.extra.get("calls") or [{}] * len(task.solution.calls)
    return [bool(note.get("fails")) for note in notes]
