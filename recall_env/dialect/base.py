"""What a Dialect is: how calls, results and the answer are written as text, and read from it."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from recall_env.errors import RecallError
from recall_env.sandbox.session import Mode
from recall_env.task import Task
from recall_env.tool_call import PlayedCall, ToolCall

Message = dict[str, Any]  # an OpenAI chat message: role and content


class Turn(NamedTuple):
    """One assistant turn, read. A turn with calls has no answer; one without calls ends the episode."""

    calls: tuple[ToolCall, ...]
    answer: str | None  # None: calls were made, or the text holds no answer
    # The part that calls and answer are looked for in: what a task's own extractor is applied to. None when the answer
    # came as the argument of a call, where nothing is left to extract.
    text: str | None


def call_text(call: ToolCall) -> str:
    """A call as every dialect reads it."""
    fields = {"name": call.name, "arguments": call.arguments}
    return f"<tool_call>\n{json.dumps(fields, ensure_ascii=False)}\n</tool_call>"


def readable(message: Message) -> str:
    """A message for a person: its text, and a line for each call that stands beside it."""
    functions = (call["function"] for call in message.get("tool_calls", ()))
    return "\n".join([message["content"], *(f"{function['name']} {function['arguments']}" for function in functions)])


def message_text(message: Mapping[str, Any]) -> str:
    """An assistant message as the JSON text that a dialect of messages reads. Raises RecallError when it is none."""
    role = message.get("role", "assistant")
    if role != "assistant":
        raise RecallError(f"action: expected an assistant message, got one of role {role!r}")
    try:
        return json.dumps({**message, "role": role}, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as e:
        raise RecallError(f"action: the message is not plain JSON data ({e})") from e


class Dialect(Protocol):
    """Stateless; one instance serves all episodes."""

    name: str
    mode: Mode  # how the sandbox runs the source
    prefill: str  # begins every assistant turn and is not sampled; the action is what comes after it
    own_tools: tuple[str, ...]  # names of tools that are the dialect's and not the task's
    checks_arguments: bool  # False: arguments go to the tool without a look at its schema
    takes_messages: bool  # a turn is an OpenAI assistant message: a dict, or its JSON text

    def start(self, task: Task) -> list[Message]:
        """The messages an episode begins with."""

    def template_tools(self, task: Task) -> list[dict[str, Any]] | None:
        """Tool schemas to hand to the model's chat template; None when `start` has them in its text."""

    def parse(self, text: str, extractor: str | None = None) -> Turn:
        """Read one assistant turn (without its prefill). What is not a call comes back as one with `error` set.

        extractor: the task's own, if it has one (`answer.EXTRACTORS`).
        """

    def render(self, results: list[PlayedCall]) -> list[Message]:
        """The messages that tell the model what its calls came to."""

    def assistant(self, text: str) -> Message:
        """The turn as a chat message: what a conversation that goes on holds of it."""

    def write_call(self, call: ToolCall) -> str:
        """What parse reads as this call: the end of an assistant turn."""

    def write_answer(self, task: Task, answer: str) -> str:
        """What parse reads as this answer to the task: the end of an assistant turn."""

    def observation(self, messages: list[Message]) -> str:
        """The text to append for these messages: of `start`, or of one `render`."""
