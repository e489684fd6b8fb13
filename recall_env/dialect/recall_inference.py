"""recall-inference: the text as ReCall's inference client wrote and read it, where that differs from its training.

One space for one line break in the system prompt; the reason why a call could not be parsed was itself run as code,
so the model read a syntax error; the answer was looked for outside <think>. Use it to reproduce the evaluation of a
ReCall checkpoint. Source: github.com/Agent-RL/ReCall, re_call/inference/re_call.py and active_pipeline.py.
"""

import re

from recall_env.dialect.base import Turn
from recall_env.dialect.recall import PARSE_FAILED, Recall, boxed
from recall_env.tool_call import ToolCall

_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)


class RecallInference(Recall):
    name = "recall-inference"
    _gap = " \n"

    def parse(self, text: str, extractor: str | None = None) -> Turn:
        turn = super().parse(text, extractor)
        response = _THOUGHT.sub("", turn.text or "").strip()
        return Turn(tuple(map(_run_as_code, turn.calls)), None if turn.calls else boxed(response), response)


def _run_as_code(call: ToolCall) -> ToolCall:
    """A parse failure as what Python said to its text; every other call as it is."""
    if call.error is None or not call.error.startswith(PARSE_FAILED):
        return call
    try:
        compile(f"response = {call.error}", "<call>", "exec")  # never run; the text is the parser's, not the model's
    except SyntaxError as e:
        return call._replace(error=f"error: \n{e}")
    raise AssertionError(f"not a syntax error: {call.error}")
