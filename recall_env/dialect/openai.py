r"""openai: message dicts in and out, as the chat API of OpenAI and its many servers has them.

A turn is an assistant message: `content`, and in `tool_calls` any number of calls, each with an id. It is given as a
dict or as its JSON text; any other text is a message that holds just that. A result is a `tool` message with the id of
its call; the answer stands in \boxed{} in the content of a turn without calls.

The observation is a JSON list of the messages to append, the same as `info["messages"]`. For agents behind an
endpoint; a model that is trained writes text, so the trainer has the other dialects.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from recall_env.answer import boxed, without_thinking
from recall_env.dialect.base import Message, Turn
from recall_env.dialect.hermes import Hermes, NotJson, content, decoded, first_calls
from recall_env.task import Task
from recall_env.tool_call import PlayedCall, ToolCall

_FORM = 'a call is {"id": "...", "type": "function", "function": {"name": "...", "arguments": "{...}"}}'
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_MAX_ID = 256  # letters


class OpenAI(Hermes):
    name = "openai"
    takes_messages = True

    def parse(self, text: str, extractor: str | None = None) -> Turn:
        message = _message(text)
        said = without_thinking(message["content"])
        calls = first_calls(_calls(message.get("tool_calls")))
        return Turn(calls, None if calls else boxed(said), said)

    def render(self, results: list[PlayedCall]) -> list[Message]:
        return [{"role": "tool", "tool_call_id": call.call_id, "content": content(result)} for call, result in results]

    def assistant(self, text: str) -> Message:
        """The message in the form that every server takes back: broken calls stand in it with no arguments."""
        calls = [_as_entry(call) for call in self.parse(text).calls]
        message = {"role": "assistant", "content": _message(text)["content"]}
        return {**message, "tool_calls": calls} if calls else message

    def write_call(self, call: ToolCall) -> str:
        entry = _as_entry(ToolCall(call.name, call.arguments, call_id=call.call_id or "call_0"))
        return json.dumps({"role": "assistant", "content": "", "tool_calls": [entry]}, ensure_ascii=False)

    def write_answer(self, task: Task, answer: str) -> str:
        said = super().write_answer(task, answer)
        return json.dumps({"role": "assistant", "content": said}, ensure_ascii=False)

    def observation(self, messages: list[Message]) -> str:
        return json.dumps(messages, ensure_ascii=False)


def _message(text: str) -> Message:
    """The assistant message that a text is the JSON of, or else the one that says this text; `content` is text."""
    try:
        message = json.loads(text)
        # An escape may spell what no UTF-8 text may hold.
        message = json.loads(_SURROGATE.sub("\ufffd", json.dumps(message, ensure_ascii=False)))
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return {"role": "assistant", "content": text}
    return {**message, "content": _said(message.get("content"))}


def _said(content: Any) -> str:
    """The text of a message's content: a text, None, or a list of parts of which some are text."""
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def _calls(entries: Any) -> Iterator[ToolCall]:
    if entries is not None and not isinstance(entries, list):
        entries = [entries]
    used: set[str] = set()
    for number, entry in enumerate(entries or ()):
        call = _as_call(entry, f"call_{number}")
        if call.call_id in used and call.error is None:
            call = _refused(call, "another call of this turn has the same id")
        used.add(call.call_id)
        yield call


def _as_call(entry: Any, spare_id: str) -> ToolCall:
    """The call of an entry; with `error` set, and spare_id where it has no id of its own, when the entry is none."""
    fields = entry if isinstance(entry, dict) else {}
    function = fields.get("function") if isinstance(fields.get("function"), dict) else {}
    call_id, name, arguments = fields.get("id"), function.get("name"), function.get("arguments")
    has_id = isinstance(call_id, str) and 0 < len(call_id) <= _MAX_ID
    has_name = isinstance(name, str) and name != ""
    raw = arguments if isinstance(arguments, str) else ""
    call = ToolCall(name if has_name else "", {}, raw, None, call_id if has_id else spare_id)
    if not function or fields.get("type", "function") != "function":
        return _refused(call, "expected an object of type function, with a function")
    if not has_id:
        return _refused(call, '"id" is missing or is no short text')
    if not has_name:
        return _refused(call, '"name" is missing or is not text')
    try:
        return call._replace(arguments=_object(arguments))
    except NotJson as e:
        return _refused(call, f'"arguments" is no JSON object: {e}')


def _refused(call: ToolCall, reason: str) -> ToolCall:
    return call._replace(arguments={}, error=f"not a tool call: {reason}; {_FORM}")


def _object(arguments: Any) -> dict[str, Any]:
    """The arguments of a call: JSON text, or the object itself; nothing is an empty one. Raises NotJson."""
    if isinstance(arguments, str) and arguments.strip():
        text = arguments.strip()
        arguments, end = decoded(text, 0)
        if end < len(text):
            raise NotJson("there is text after it")
    elif arguments is None or isinstance(arguments, str):
        arguments = {}
    if not isinstance(arguments, dict):
        raise NotJson(f"expected an object, got {type(arguments).__name__}")
    return arguments


def _as_entry(call: ToolCall) -> dict[str, Any]:
    """A call as an entry of `tool_calls`; its arguments as the model wrote them when they are sound."""
    raw = call.raw if call.error is None and call.raw.strip() else json.dumps(call.arguments, ensure_ascii=False)
    return {"id": call.call_id, "type": "function", "function": {"name": call.name or "invalid", "arguments": raw}}
