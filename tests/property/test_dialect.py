"""What a model or a tool may write, drawn by Hypothesis: no text breaks the reading, and none forges the writing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall_env.answer import boxed, same_answer, token_f1, without_thinking
from recall_env.dialect import DIALECTS
from recall_env.dialect.base import call_text
from recall_env.dialect.hermes import escaped_json
from recall_env.task import Solution, Task
from recall_env.tool_call import ToolCall, ToolResult

PIECES = ("<tool_call>", "</tool_call>", "<think>", "</think>", "<tool_response>", "</tool_response>", "<|im_start|>")
PIECES += ("<|im_end|>", "assistant\n", "\\boxed{", "}", "{", '"', "\\", '{"name": "f", "arguments": {}}', "\ud800")
any_text = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=6)), max_size=12).map("".join)
plain_text = any_text.map(lambda text: text.replace("\ud800", "")).filter(lambda text: "think>" not in text)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), any_text)
values = st.recursive(scalars, lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(any_text, v, max_size=3)))
clean = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), plain_text)
arguments = st.dictionaries(plain_text, st.one_of(clean, st.lists(clean, max_size=3)), max_size=3)

MARKERS = ("<|", "<tool_call", "</tool", "<tool_response", "<think", "</think")


@given(values)
def test_whatever_a_tool_returns_is_the_same_json_and_spells_no_marker(value):
    text = escaped_json(value)
    assert json.loads(text) == value
    assert not any(marker in text for marker in MARKERS)
    text.encode()  # no lone surrogate is left


@given(any_text, any_text, any_text)
def test_no_result_of_any_status_can_open_or_close_anything(value, printed, message):
    for result in (
        ToolResult("ok", value, printed),
        ToolResult("tool_error", None, printed, "Error", message),
        ToolResult("parse_error", error_message=message),
        ToolResult("output_truncated", value, printed, None, message),
    ):
        (rendered,) = DIALECTS["hermes"].render([(ToolCall("f", {}), result)])
        assert not any(marker in rendered["content"] for marker in MARKERS)
        observation = DIALECTS["hermes"].observation([rendered])
        assert observation.count("<tool_response>") == observation.count("</tool_response>") == 1
        assert DIALECTS["hermes"].parse(observation).calls == ()


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from(["assistant", "function", '{"x": 1}', "{", ""])),
    lambda v: st.one_of(
        st.lists(v, max_size=3),
        st.dictionaries(
            st.sampled_from(["role", "content", "tool_calls", "id", "type", "function", "name", "arguments"]), v
        ),
    ),
    max_leaves=12,
)


@given(content=json_values, calls=json_values)
def test_any_message_is_read_and_every_call_of_it_is_answered_under_the_id_it_goes_on_with(content, calls):
    text = json.dumps({"role": "assistant", "content": content, "tool_calls": calls})
    openai = DIALECTS["openai"]
    turn, said = openai.parse(text), openai.assistant(text)
    answered = openai.render([(call, ToolResult("ok")) for call in turn.calls])
    assert [m["tool_call_id"] for m in answered] == [call["id"] for call in said.get("tool_calls", [])]
    again = openai.parse(json.dumps(said))  # sound, so it reads as itself but for what was refused
    assert openai.assistant(json.dumps(said)) == said and len(again.calls) == len(turn.calls)


@given(st.lists(st.tuples(plain_text.filter(bool), arguments), min_size=1, max_size=4))
def test_calls_written_are_the_calls_read(calls):
    written = [ToolCall(name, given_arguments) for name, given_arguments in calls]
    turn = DIALECTS["hermes"].parse("<think>so</think>" + "\n".join(map(call_text, written)))
    assert [(c.name, c.arguments, c.error) for c in turn.calls] == [(c.name, c.arguments, None) for c in written]


@pytest.mark.parametrize("name", list(DIALECTS))
@given(text=any_text)
def test_any_assistant_text_is_read_as_calls_or_as_an_end_never_both(name, text):
    turn = DIALECTS[name].parse(text)
    assert not (turn.calls and turn.answer is not None)
    for call in turn.calls:
        assert call.error is not None or (isinstance(call.name, str) and isinstance(call.arguments, dict))


@given(plain_text.filter(lambda t: t.count("{") == t.count("}") == 0 and "\\" not in t), plain_text)
def test_a_boxed_answer_is_found_whatever_stands_before_it(answer, before):
    assert boxed(f"{before} \\boxed{{{answer}}}") == answer.strip()


@given(any_text)
def test_thinking_leaves_no_opening_tag_behind(text):
    assert "<think>" not in without_thinking(text)


@given(any_text)
def test_an_answer_is_always_the_same_as_itself_however_it_is_spaced_and_cased(text):
    assert same_answer(text, text)
    assert same_answer(f"  {text}\n", text)


@given(st.integers(), st.integers())
def test_whole_numbers_are_the_same_only_when_they_are_equal(a, b):
    assert same_answer(f"{a:,}", f"{b}.0") == (a == b)


@given(any_text, any_text)
def test_f1_lies_between_0_and_1_and_is_1_for_the_same_words(a, b):
    assert 0.0 <= token_f1(a, (b,)) <= 1.0
    assert token_f1(a, (b,)) == token_f1(b, (a,))
    assert token_f1(a, (a,)) in (0.0, 1.0)


ids = st.text(min_size=1, max_size=8)
unknown = st.dictionaries(
    st.sampled_from(["x", "y", "index"]), st.one_of(st.none(), st.integers(), st.text()), max_size=2
)


@given(
    ids,
    st.text(),
    st.lists(st.text(), min_size=1, max_size=3),
    st.one_of(st.none(), st.lists(st.tuples(ids, arguments), max_size=2)),
    st.one_of(st.booleans(), st.integers(), st.dictionaries(st.text(), st.integers(), max_size=2)),
    unknown,
    unknown,
)
def test_a_task_survives_its_row_and_json(id, question, truths, calls, state, in_row, in_info):
    solution = None if calls is None else Solution(tuple(ToolCall(n, a) for n, a in calls), "x")
    extra = {level: keys for level, keys in (("row", in_row), ("extra_info", in_info)) if keys}
    task = Task(id, question, "", ({"name": "f"},), tuple(truths), solution, state, extra=extra)
    assert Task.from_row(json.loads(json.dumps(task.to_row()))) == task
