"""ToolCall and ToolResult: what the model asked for, and what came back."""

from typing import Any, Literal, NamedTuple

__all__ = ["AGENT_STATUSES", "PlayedCall", "Status", "ToolCall", "ToolResult"]

# What a call came to: the statuses are explained in docs/environment.md. Only the last is never shown to a model.
Status = Literal[
    "ok",
    "tool_error",  # the tool raised
    "timeout",  # the host's clock ran out
    "out_of_memory",
    "violation",  # the jail stopped it: a forbidden system call, a forged or stray frame
    "parse_error",  # the text between the call markers is not a call
    "unknown_tool",
    "invalid_arguments",  # they do not match the tool's JSON Schema
    "output_truncated",  # the value or what was printed is longer than the limit; a cut text came back
    "sandbox_failure",  # infrastructure: never the agent's fault, never shown to it
]
AGENT_STATUSES = frozenset(["parse_error", "unknown_tool", "invalid_arguments"])  # the call never reached the tool


class ToolCall(NamedTuple):
    """One call as the model wrote it. `error` is set, and `name` may be empty, when the text is not a call."""

    name: str
    arguments: dict[str, Any]
    raw: str = ""  # the text between the markers, as written
    error: str | None = None  # why it could not be parsed, in words for the model
    call_id: str | None = None  # dialects that number their calls


class ToolResult(NamedTuple):
    """What a call came to. `value` is plain JSON data and is kept when it is falsy (0, "", [], null).

    stdout: what the tool printed. error_type and error_message: of what it raised, or words for the model on why the
    call did not reach it.
    """

    status: Status
    value: Any = None
    stdout: str = ""
    error_type: str | None = None  # "KeyError", or None
    error_message: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the tool returned, and nothing of it was cut."""
        return self.status == "ok"


PlayedCall = tuple[ToolCall, ToolResult]  # a call, and what it came to


def copied(value: Any) -> Any:
    """JSON data that shares nothing that can change with `value`. For that kind of data, and far quicker than
    copy.deepcopy: a step makes several such copies."""
    kind = type(value)
    if kind is dict:
        return {key: copied(item) for key, item in value.items()}
    if kind is list:
        return [copied(item) for item in value]
    return value
