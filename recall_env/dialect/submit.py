"""submit: hermes, where the answer is a call too: of the tool `submit_answer`, which ends the episode.

For models that, once they write calls, write nothing else. Of 320 turns that Qwen2.5-Coder-0.5B-Instruct sampled after
all the right calls, none held a box; given this tool, 27 used it, 26 of them with the right answer.
"""

import copy
import json
from typing import Any

from recall_env.answer import boxed
from recall_env.dialect.base import Message, Turn, call_text
from recall_env.dialect.hermes import Hermes
from recall_env.errors import TaskError
from recall_env.task import Task
from recall_env.tool_call import ToolCall

SYSTEM = (
    "Use the tools to answer the question; do not guess what a tool can tell you. "
    "When you know the answer, call submit_answer with it."
)
TOOL = {
    "name": "submit_answer",
    "description": "Hand in the answer to the question. Call it once, at the end.",
    "parameters": {
        "type": "object",
        "properties": {"answer": {"type": "string", "description": "The answer alone."}},
        "required": ["answer"],
    },
}


class Submit(Hermes):
    name = "submit"
    own_tools = (TOOL["name"],)

    def start(self, task: Task) -> list[Message]:
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": task.question}]

    def template_tools(self, task: Task) -> list[dict[str, Any]] | None:
        """Raises TaskError when the task has a tool of this name itself."""
        tools = super().template_tools(task) or []
        if any(tool["function"]["name"] == TOOL["name"] for tool in tools):
            raise TaskError(f"task {task.id} has a tool named {TOOL['name']} itself; play it in the hermes dialect")
        return [*tools, {"type": "function", "function": copy.deepcopy(TOOL)}]

    def parse(self, text: str, extractor: str | None = None) -> Turn:
        turn = super().parse(text, extractor)
        if len(turn.calls) == 1 and (answer := _submitted(turn.calls[0])) is not None:
            return Turn((), answer, None)
        return turn._replace(calls=tuple(map(_refused, turn.calls)))

    def write_answer(self, task: Task, answer: str) -> str:
        return call_text(ToolCall(TOOL["name"], {"answer": answer}))


def _submitted(call: ToolCall) -> str | None:
    """The answer that a well-formed call of submit hands in, as text; None for any other call."""
    if call.error is not None or call.name != TOOL["name"] or set(call.arguments) != {"answer"}:
        return None
    answer = call.arguments["answer"]
    if not isinstance(answer, str):
        return json.dumps(answer, ensure_ascii=False)
    within = boxed(answer)  # of a model that knows the other way of answering too
    return answer if within is None else within


def _refused(call: ToolCall) -> ToolCall:
    if call.name != TOOL["name"] or call.error is not None:
        return call
    return call._replace(error=f"{TOOL['name']} is the only call of its turn and takes one argument, answer")
