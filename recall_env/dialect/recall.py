"""recall: the original ReCall's text, byte for byte as in its training, quirks and all.

Kept on purpose: tools are loaded anew for every call; calls inside <think> run; unbalanced tags mean no call at all;
falsy results and empty errors are not shown; values are Python's str(), not JSON; an error has no type; the call is
echoed; tool output is NOT escaped. Use it to compare with ReCall or to play its checkpoints; hermes fixes all of it.

Its inference client wrote and read some of it differently: recall_inference.py.

Not kept: a call's name is never run as code. It is looked up among the task's schemas, and arguments travel as JSON.
Nor what its server's JSON library, by version, made of bytes, complex numbers, generators, NaN and coroutines.
Source: github.com/Agent-RL/ReCall, vllm_rollout_spmd.py, template.py, reward_score/re_call.py. The system prompt is
part of the format: ReCall's checkpoints were trained on these bytes (MIT licence, (c) 2025 Agent-RL).
"""

import json
import math
import re
from typing import Any

from recall_env.dialect.base import Message, Turn, call_text
from recall_env.sandbox.session import Mode
from recall_env.task import Task
from recall_env.tool_call import PlayedCall, ToolCall, ToolResult

_SYSTEM = (
    "In this environment you have access to a set of tools you can use to assist with the user query. "
    "You may perform multiple rounds of function calls. "
    "In each round, you can call one or more functions.{gap}"
    "Here are available functions in JSONSchema format: \n```json\n{func_schemas}\n```\n\n"
    "In your response, you need to first think about the reasoning process in the mind and then conduct function "
    "calling to get the information or perform the actions if needed. "
    "The reasoning process and function calling are enclosed within <think> </think> and <tool_call> </tool_call> "
    "tags. The results of the function calls will be given back to you after execution, "
    "and you can continue to call functions until you get the final answer for the user's question. "
    "Finally, if you have got the answer, enclose it within \\boxed{{}} with latex format and do not continue to call "
    "functions, i.e., <think> Based on the response from the function call, I get the weather information. </think> "
    "The weather in Beijing on 2025-04-01 is \\[ \\boxed{{20C}} \\].\n\n"
    "For each function call, return a json object with function name and arguments within <tool_call></tool_call> "
    "XML tags:\n<tool_call>\n"
    '{{"name": <function-name>, "arguments": <args-json-object>}}\n</tool_call>'
)
PARSE_FAILED = "Parse tool call failed"
_CALL = re.compile(r"<tool_call>((?:(?!</tool_call>).)*)</tool_call>", re.DOTALL)


class Recall:
    name = "recall"
    mode: Mode = "fresh"
    prefill = "<think>"
    own_tools: tuple[str, ...] = ()
    checks_arguments = False
    takes_messages = False
    _gap = "\n\n"  # in the system prompt

    def start(self, task: Task) -> list[Message]:
        text = task.schemas_text
        schemas = text if text is not None else json.dumps(list(task.schemas), indent=4, ensure_ascii=False)
        return [
            {"role": "system", "content": _SYSTEM.format(func_schemas=schemas, gap=self._gap)},
            {"role": "user", "content": task.question},
        ]

    def template_tools(self, task: Task) -> list[dict[str, Any]] | None:
        return None

    def parse(self, text: str, extractor: str | None = None) -> Turn:
        text = text.removesuffix("<|im_end|>")
        calls = tuple(_as_call(found[1].strip()) for found in _CALL.finditer(text)) if _balanced(text) else ()
        response = (self.prefill + text).strip()
        return Turn(calls, None if calls else boxed(response), response)

    def render(self, results: list[PlayedCall]) -> list[Message]:
        blocks = (f"<tool_response>{call.raw}\n{_shown(call, r)}\n</tool_response>\n" for call, r in results)
        return [{"role": "user", "content": "".join(blocks)}]

    def assistant(self, text: str) -> Message:
        return {"role": "assistant", "content": self.prefill + text}

    def write_call(self, call: ToolCall) -> str:
        return call_text(call)

    def write_answer(self, task: Task, answer: str) -> str:
        return answer if task.extractor == "text" else f"\\boxed{{{answer}}}"

    def observation(self, messages: list[Message]) -> str:
        """ChatML, which ReCall is bound to: the whole prompt, or what follows the <|im_end|> of a turn."""
        turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
        joint = "" if messages and messages[0]["role"] == "system" else "\n"
        return f"{joint}{turns}<|im_start|>assistant\n{self.prefill}"


def boxed(text: str) -> str | None:
    r"""ReCall's idea of the answer: `\boxed x` up to the next $ wins over the last \boxed{x}; None when it fails."""
    if "\\boxed " in text:
        return text.rsplit("\\boxed ", 1)[1].split("$", 1)[0]
    start = text.rfind("\\boxed")
    if not text.startswith("\\boxed{", max(start, 0)):
        return None
    depth = 0
    for stop in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[stop], 0)
        if text[stop] == "}" and depth == 0:
            return text[start + len("\\boxed{") : stop]
    return None


def _balanced(text: str) -> bool:
    opens = [found.start() for found in re.finditer("<tool_call>", text)]
    closes = [found.start() for found in re.finditer("</tool_call>", text)]
    return len(opens) == len(closes) and all(o < c for o, c in zip(opens, closes, strict=True))


def _as_call(raw: str) -> ToolCall:
    """A call, or, in `error`, the very text ReCall showed: its code failed with these exceptions on these inputs."""
    try:
        fields = json.loads(raw)
        name, arguments = fields["name"], fields.get("arguments", {})
        arguments.items()
    except Exception as e:
        return ToolCall("", {}, raw, f"{PARSE_FAILED}: {e}")
    if not isinstance(name, str):
        name = repr(name)
    unknown = next(_constants(arguments), None)
    if unknown is not None:  # repr() wrote NaN as the Python name nan, which is not defined
        return ToolCall(name, {}, raw, f"error: \nname '{unknown}' is not defined")
    return ToolCall(name, arguments, raw)


def _constants(value: Any):
    if isinstance(value, float) and not math.isfinite(value):
        yield "nan" if math.isnan(value) else "inf"
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _constants(part)


def _own_words(result: ToolResult) -> str | None:
    """str() of the tool's exception: without the words our sandbox finds for one that has none."""
    message, kind = result.error_message, result.error_type
    wordless = message == f"{kind} (no message)" or (
        kind == "AssertionError" and (message or "").startswith("assertion failed")
    )
    return None if wordless else message


# What ReCall's server could not answer with its JSON, it answered with this HTTP status.
_SERVER_ERRORS = frozenset(["SystemExit", "KeyboardInterrupt", "ResultError"])


def _shown(call: ToolCall, result: ToolResult) -> str:
    if result.status == "parse_error":
        return result.error_message or ""
    if result.status == "timeout":
        return "error: execution timed out"
    if result.error_type in _SERVER_ERRORS:
        return "error: 500"
    error = _own_words(result)
    if result.status == "unknown_tool":
        error = f"name '{call.name}' is not defined"  # what Python said when the call was run as code
    shown = f"result: \n{result.value}\n" if result.value else ""
    shown += f"output: \n{result.stdout}\n" if result.stdout else ""
    shown += f"error: \n{error}\n" if error else ""
    return shown.strip()
