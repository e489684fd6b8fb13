"""A person at the keyboard as an agent."""

import ast
import json
import sys
from typing import Any

from recall_env.agent import after_thinking
from recall_env.dialect import Dialect
from recall_env.errors import RecallError
from recall_env.task import Task
from recall_env.terminal import say
from recall_env.tool_call import ToolCall


class Hand:
    """Reads a turn from stdin, up to an empty line: as a model would write it, or a call as name(arg=value)."""

    def __init__(self, dialect: Dialect):
        self._dialect = dialect

    def act(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
        opened = f" (it begins with {self._dialect.prefill})" if self._dialect.prefill else ""
        say(f"\nyour turn, ended by an empty line{opened}; name(arg=value) calls a tool:")
        lines = []
        for line in sys.stdin:
            if not line.strip():
                break
            lines.append(line)
        if not lines:
            raise RecallError("the episode was left: no turn came from stdin")
        turn = "".join(lines).rstrip("\n")
        call = typed_call(turn)
        return turn if call is None else after_thinking(self._dialect) + self._dialect.write_call(call)


def hand_of(task: Task, seed: int, dialect: Dialect) -> Hand:
    return Hand(dialect)


def typed_call(text: str) -> ToolCall | None:
    """The call that is written as name(arg=value), with values of JSON or of Python; or None."""
    text = text.strip()
    try:
        call = ast.parse(text, mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            return None
        if call.args or not all(keyword.arg for keyword in call.keywords):
            return None
        return ToolCall(call.func.id, {word.arg: _value(text, word.value) for word in call.keywords})
    except (
        SyntaxError,
        ValueError,
        TypeError,
        RecursionError,
        MemoryError,
    ):  # what Python says of a text that is no expression
        return None


def _value(text: str, node: ast.expr) -> Any:
    try:
        return json.loads(ast.get_source_segment(text, node))
    except ValueError:
        value = ast.literal_eval(node)
        json.dumps(value)  # a set, say, is a literal and no JSON
        return value
