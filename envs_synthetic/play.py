"""Playing calls against a tool source: resolving a draft's plan, replaying a solution where other data leads.

`Trusted` runs sources in this process. It is for sources that `generate` has just written itself, which are templates
of this package filled with words of its lexicon; a source from anywhere else belongs in the jail. It is not a backend
of `recall_env.sandbox`.
"""

import functools
import json
from types import CodeType
from typing import Any

from envs_synthetic.draft import Draft, Ref
from recall_env.check.gold_calls import PlanError, answer_text, read_at, rebound
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

    def call(self, name: str, arguments: dict[str, Any], timeout_s: float | None = None) -> ToolResult:
        if not callable(self.names.get(name)):
            return ToolResult("unknown_tool", error_message=f"the source defines no function {name}()")
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
    return read_at(results[value.step].value, value.path, value.pattern)


def replay_rebound(task: Task, pool: Any, original: list[ToolResult]) -> list[ToolResult]:
    """As `rebound`, in a session of its own."""
    session = pool.open(task.source, state=task.state, seed=0)
    try:
        return rebound(session, task, original)
    finally:
        session.close()
