r"""hermes: Qwen's native tool calls, and the default.

A call is `<tool_call>{json}</tool_call>`, up to 256 in a turn; a result is a `tool` message that
holds JSON; the answer stands in \boxed{} in a turn without calls. Nothing inside <think> is read.

Some models were never trained to write the tags: Qwen2.5-Coder-0.5B answers the same prompt with the JSON alone, bare
or in a code fence. A turn that begins with such a call is read as calls too.

The observation is the content alone, as Qwen's chat template frames it inside a turn: role markers belong to the
model's template, and `info["messages"]` is what to hand to it.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from recall_env.answer import boxed, without_thinking
from recall_env.dialect.base import Message, Turn, call_text
from recall_env.sandbox import wire
from recall_env.sandbox.session import Mode
from recall_env.task import Task
from recall_env.tool_call import PlayedCall, ToolCall, ToolResult, copied

SYSTEM = (
    "Use the tools to answer the question; do not guess what a tool can tell you. "
    "When you know the answer, call no more tools and give it, alone, in \\boxed{}."
)

MAX_CALLS = 256  # of one turn; a turn of a million broken tags is not worth a minute
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_UNTAGGED = re.compile(r'\s*(?:```\w*\s*)?(?=\{\s*"(?:name|arguments)"\s*:)')
_FORM = 'write {"name": "...", "arguments": {...}} between the opening and the closing tool_call tag'
# What could begin a special token or a tag of any model: "<" and then a letter, a slash, or a bar (ASCII or wide).
_MARKER = re.compile(r"<(?=[^\W\d]|[/|!\uff5c_])")
_SPACE, _BETWEEN = re.compile(r"\s*"), re.compile(r"[\s,]*(?:```\w*[\s,]*)*")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Hermes:
    name = "hermes"
    mode: Mode = "stateful"
    prefill = ""
    own_tools: tuple[str, ...] = ()
    checks_arguments = True
    takes_messages = False

    def start(self, task: Task) -> list[Message]:
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": task.question}]

    def template_tools(self, task: Task) -> list[dict[str, Any]] | None:
        wrapped = ({"type": "function", "function": s} if "function" not in s else s for s in task.schemas)
        return [copied(schema) for schema in wrapped]

    def parse(self, text: str, extractor: str | None = None) -> Turn:
        text = without_thinking(text)
        untagged = _UNTAGGED.match(text)
        # Where the whole text is the answer, an answer may well look like a call.
        if untagged and extractor != "text":
            calls = first_calls(_untagged_calls(text, untagged.end()))
        else:
            calls = first_calls(_calls(text))
        return Turn(calls, None if calls else boxed(text), text)

    def render(self, results: list[PlayedCall]) -> list[Message]:
        return [{"role": "tool", "content": content(result)} for _, result in results]

    def assistant(self, text: str) -> Message:
        return {"role": "assistant", "content": text}

    def write_call(self, call: ToolCall) -> str:
        return call_text(call)

    def write_answer(self, task: Task, answer: str) -> str:
        return answer if task.extractor == "text" else f"\\boxed{{{answer}}}"

    def observation(self, messages: list[Message]) -> str:
        if messages and messages[0]["role"] == "tool":
            return "\n".join(f"<tool_response>\n{m['content']}\n</tool_response>" for m in messages)
        return "\n\n".join(m["content"] for m in messages)


def content(result: ToolResult) -> str:
    """A result as JSON text: the value; with what was printed, or with an error, an object that names each."""
    if result.ok and not result.stdout:
        return escaped_json(result.value)
    fields: dict[str, Any] = {}
    if result.ok or result.status == "output_truncated":
        fields["result"] = result.value
    if result.stdout:
        fields["output"] = result.stdout
    if not result.ok:
        named = ": ".join(part for part in (result.error_type, result.error_message) if part)
        fields["error"] = named or result.status.replace("_", " ")
    return escaped_json(fields)


def escaped_json(value: Any) -> str:
    """Compact JSON, equal as JSON to `value`, in which no text can spell a tag, a special token or a role marker.

    The "<" of anything that could begin one is written \\u003c. "<" stands in JSON only inside strings, so the
    replacement cannot change the value. Lone surrogates, which no UTF-8 file or tokenizer takes, stay escaped.
    """
    text = _as_text(value)
    if "<" in text:
        text = _MARKER.sub(r"\\u003c", text)
    return text if text.isascii() else _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def first_calls(calls: Iterator[ToolCall]) -> tuple[ToolCall, ...]:
    """At most MAX_CALLS of them, and one that says that there were more."""
    first = tuple(islice(calls, MAX_CALLS))
    if next(calls, None) is None:
        return first
    return (*first, ToolCall("", {}, "", f"one turn may hold {MAX_CALLS} calls; what came after them was not run"))


def _calls(text: str) -> Iterator[ToolCall]:
    """Every call of a turn, in order."""
    start = text.find(_OPEN)
    while start >= 0:
        call, stop = _call_at(text, start + len(_OPEN))
        yield call
        start = text.find(_OPEN, stop)


def _untagged_calls(text: str, start: int) -> Iterator[ToolCall]:
    """The calls that a turn begins with, in order, up to the first thing that is none: a result made up, or prose."""
    while text.startswith("{", start):
        try:
            value, end = decoded(text, start)
        except NotJson as e:
            yield _not_a_call(text[start:], str(e))
            return
        if "name" not in value:
            return
        yield _as_call(value, text[start:end])
        start = _BETWEEN.match(text, end).end()


def _call_at(text: str, start: int) -> tuple[ToolCall, int]:
    """The call whose content begins at start, and where it stops."""
    start = _SPACE.match(text, start).end()
    try:
        value, end = decoded(text, start)
    except NotJson as e:
        stop = _next_tag(text, start)
        return _not_a_call(text[start:stop], str(e)), stop
    # The JSON ends where its grammar says, so a string argument may spell a closing tag.
    rest = _SPACE.match(text, end).end()
    if text.startswith(_CLOSE, rest):
        return _as_call(value, text[start:end]), rest + len(_CLOSE)
    stop = max(_next_tag(text, start), end)
    if text[rest:stop].strip():
        return _not_a_call(text[start:stop], "there is text after the JSON object"), stop
    return _not_a_call(text[start:stop], "the closing tool_call tag is missing"), stop


def _next_tag(text: str, start: int) -> int:
    return min((at for at in (text.find(_CLOSE, start), text.find(_OPEN, start)) if at >= 0), default=len(text))


class NotJson(ValueError):
    """Why a text is not JSON, in words for the model."""


def decoded(text: str, start: int) -> tuple[Any, int]:
    """The JSON value that begins at start, and where it ends. Raises NotJson: NaN and lone surrogates are none."""
    try:
        value, end = _DECODER.raw_decode(text, start)
        written = text[start:end]
        if not written.isascii() or "\\u" in written:
            json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate has no place in a call
    except RecursionError as e:
        raise NotJson("nested too deeply") from e
    except ValueError as e:
        raise NotJson(_reason(e, start)) from e
    return value, end


def _as_call(value: Any, raw: str) -> ToolCall:
    if not isinstance(value, dict):
        return _not_a_call(raw, "expected one JSON object")
    name, arguments = value.get("name"), value.get("arguments")
    if not isinstance(name, str) or not name:
        return _not_a_call(raw, '"name" is missing or is not text')
    if isinstance(arguments, str):  # as OpenAI's API writes them
        try:
            arguments = _DECODER.decode(arguments)
        except (ValueError, RecursionError):
            return ToolCall(name, {}, raw, f'not a tool call: "arguments" is text and not JSON; {_FORM}')
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        return ToolCall(name, {}, raw, f'not a tool call: "arguments" is not an object; {_FORM}')
    return ToolCall(name, arguments, raw)


def _not_a_call(raw: str, reason: str) -> ToolCall:
    return ToolCall("", {}, raw.strip(), f"not a tool call: {reason}; {_FORM}")


def _reason(error: ValueError, start: int) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos - start}"
    if isinstance(error, UnicodeEncodeError):
        return "a lone surrogate is not text"
    return str(error).splitlines()[0]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_as_text = wire.writer(ensure_ascii=False, allow_nan=True)
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
