"""Rows of ReCall's Parquet, and ours, as Tasks and back."""

import copy
import json

import pytest

from recall_env.errors import TaskError
from recall_env.task import Solution, Task
from recall_env.tool_call import ToolCall

SCHEMAS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
ROW = {
    "data_source": "syntool_re_call",
    "question": "What?",
    "ability": "re_call",
    "reward_model": {"style": "rule", "ground_truth": ["12", "twelve"]},
    "extra_info": {"id": "r-1", "env": "def f(): return 12", "func_schemas": json.dumps(SCHEMAS, indent=4)},
}


def row(**extra_info) -> dict:
    changed = copy.deepcopy(ROW)
    changed["extra_info"].update(extra_info)
    return changed


def test_a_recall_row_comes_back_unchanged():
    assert Task.from_row(ROW).to_row() == ROW


def test_one_text_as_ground_truth_stays_one_text():
    changed = row()
    changed["reward_model"]["ground_truth"] = "12"
    task = Task.from_row(changed)
    assert task.ground_truth == ("12",)
    assert task.to_row() == changed


def test_unknown_keys_survive_at_every_level():
    solution = {
        "calls": [{"name": "f", "arguments": {}, "note": "why"}, {"name": "f", "arguments": {}}],
        "answer": "12",
        "by": "hand",
    }
    changed = row(solution=json.dumps(solution), index=7, nested={"a": [1, None]})
    changed["reward_model"]["judge"] = {"weight": 2}
    changed["version"] = None
    back = Task.from_row(changed).to_row()
    assert json.loads(back["extra_info"].pop("solution")) == json.loads(changed["extra_info"].pop("solution"))
    assert back == changed


def test_a_reward_style_other_than_rule_survives():
    changed = row()
    changed["reward_model"]["style"] = "model"
    assert Task.from_row(changed).to_row() == changed


@pytest.mark.parametrize("as_text", [True, False])
def test_solution_and_state_are_read_from_json_texts_and_from_objects(as_text):
    form = json.dumps if as_text else copy.deepcopy
    solution = {"calls": [{"name": "f", "arguments": {"x": 1}}], "answer": "12"}
    task = Task.from_row(row(solution=form(solution), state=form({"prices": [1, 2]})))
    assert task.solution == Solution((ToolCall("f", {"x": 1}),), "12")
    assert task.state == {"prices": [1, 2]}
    assert task.calls_needed == 1
    info = task.to_row()["extra_info"]
    assert json.loads(info["solution"]) == solution and json.loads(info["state"]) == {"prices": [1, 2]}


def test_our_own_tasks_survive_the_row(task):
    assert Task.from_row(task.to_row()) == task


def test_absent_and_none_are_the_same_for_optional_keys():
    with_nones = row(solution=None, state=None, family=None, difficulty=None, n_calls=None, services=None, license=None)
    assert Task.from_row(with_nones) == Task.from_row(ROW)


def test_a_row_without_an_id_is_named_by_its_content():
    nameless = row()
    del nameless["extra_info"]["id"]
    assert Task.from_row(nameless).id == Task.from_row(ROW).content_hash[:16]


def test_the_content_hash_ignores_names_and_sees_what_is_played():
    base = Task.from_row(ROW)
    assert Task.from_row(row(id="other", family="x")).content_hash == base.content_hash
    assert Task.from_row(row(env="def f(): return 13")).content_hash != base.content_hash
    assert Task.from_row(row(state={"a": 1})).content_hash != base.content_hash


def broken(path: str, value) -> dict:
    changed = row()
    level = changed
    *parents, last = path.split(".")
    for parent in parents:
        level = level[parent]
    level[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("reward_model.ground_truth", 42, "reward_model.ground_truth: expected text or a list of texts, got 42"),
        ("reward_model.ground_truth", [], "reward_model.ground_truth: expected text or a list of texts, got []"),
        ("reward_model.ground_truth", [1], "reward_model.ground_truth: expected text or a list of texts, got [1]"),
        ("reward_model", None, "reward_model: expected an object, got nothing"),
        ("question", None, "question: expected text, got nothing"),
        ("question", 3, "question: expected text, got 3"),
        ("extra_info.env", None, "extra_info.env: expected text, got nothing"),
        ("extra_info.func_schemas", "[", "extra_info.func_schemas: expected JSON"),
        ("extra_info.func_schemas", "{}", "extra_info.func_schemas: expected a JSON list of tool schemas, got {}"),
        ("extra_info.func_schemas", "[{}]", "extra_info.func_schemas[0]: expected a tool schema with a name"),
        ("extra_info.func_schemas", json.dumps(SCHEMAS * 2), "func_schemas[1].name: expected a name of its own"),
        ("extra_info.solution", "[]", "extra_info.solution: expected an object, got []"),
        ("extra_info.solution", {"answer": "1"}, "extra_info.solution.calls: expected a list of calls, got nothing"),
        ("extra_info.solution", {"calls": [{"name": "f"}], "answer": "1"}, "calls[0].arguments: expected an object"),
        ("extra_info.solution", {"calls": []}, "extra_info.solution.answer: expected text, got nothing"),
        ("extra_info.state", "{", "extra_info.state: expected JSON"),
        ("extra_info.n_calls", "3", "extra_info.n_calls: expected an integer, got '3'"),
        ("extra_info.n_calls", True, "extra_info.n_calls: expected an integer, got True"),
        ("extra_info.services", "search", "extra_info.services: expected a list of texts, got 'search'"),
        ("extra_info.extractor", "boxd", "extra_info.extractor: expected one of boxed, text; did you mean 'boxed'?"),
    ],
)
def test_a_row_that_cannot_be_used_names_its_place_and_reason(path, value, words):
    with pytest.raises(TaskError) as caught:
        Task.from_row(broken(path, value), "tasks.parquet row 17")
    assert str(caught.value).startswith("tasks.parquet row 17: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_something_that_is_no_row_is_a_task_error():
    with pytest.raises(TaskError, match="expected an object"):
        Task.from_row([1], "x")
