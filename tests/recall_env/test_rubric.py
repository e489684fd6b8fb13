"""Rewards as named, weighted parts."""

import pytest

from recall_env.rubric import RUBRICS, Episode, PlayedTurn
from recall_env.tool_call import ToolCall, ToolResult

OK, BAD = ToolResult("ok", 1), ToolResult("tool_error", error_message="no")


def episode(task, *results, answer=None, texts=(), termination="answer") -> Episode:
    turns = [PlayedTurn("", tuple(results)), *(PlayedTurn(text) for text in texts)]
    return Episode(task, tuple(turns), answer, termination)


def test_every_rubric_names_the_answer_and_pays_it_more_than_anything_else():
    for name, rubric in RUBRICS.items():
        assert "answer" in rubric.parts, name
    for name in ("answer", "progress"):
        weights = {part: value.weight for part, value in RUBRICS[name].parts.items()}
        assert sum(weights.values()) == pytest.approx(1.0)
        assert weights["answer"] > 0.5


def test_the_answer_rubric_pays_the_answer_and_records_the_rest(make_task):
    task = make_task(ground_truth=("25", "twenty-five"))
    score = RUBRICS["answer"].score(episode(task, answer="Twenty-five"))
    assert score.total == 1.0 and score.values["answer"] == 1.0 and score.values["progress"] == 0.0
    assert RUBRICS["answer"].score(episode(task, answer="26")).total == 0.0
    assert RUBRICS["answer"].score(episode(task, answer=None, termination="max_turns")).total == 0.0


def test_progress_counts_distinct_gold_calls_that_came_back_ok_in_any_order(task):
    add, total = task.solution.calls

    def progress(*results):
        return RUBRICS["progress"].score(episode(task, *results)).values["progress"]

    assert progress() == 0.0
    assert progress((total, OK)) == 0.5
    assert progress((total, OK), (total, OK)) == 0.5
    assert progress((total, OK), (add, OK)) == 1.0
    assert progress((add, BAD)) == 0.0
    assert progress((ToolCall("add", {"count": 2.0, "item": "lamp"}), OK)) == 0.5
    assert progress((ToolCall("add", {"count": 3, "item": "lamp"}), OK)) == 0.0


def test_progress_needs_a_gold_solution_and_its_weight_shows(task, make_task):
    add, total = task.solution.calls
    assert RUBRICS["progress"].score(episode(make_task(solution=None), (add, OK))).values["progress"] == 0.0
    score = RUBRICS["progress"].score(episode(task, (add, OK), (total, OK), answer="wrong"))
    assert score.total == pytest.approx(0.4)
    assert RUBRICS["progress"].score(episode(task, (add, OK), answer="25")).total == pytest.approx(0.8)


def test_valid_calls_is_the_share_that_came_back_ok(task):
    add, total = task.solution.calls
    values = RUBRICS["answer"].score(episode(task, (add, OK), (total, BAD))).values
    assert values["valid_calls"] == 0.5
    assert RUBRICS["answer"].score(episode(task)).values["valid_calls"] == 0.0


def test_recalls_floor_pays_a_wrong_answer_more_than_a_barely_overlapping_one(make_task):
    task = make_task(ground_truth=("z",))
    turn = "<think>t</think> \\boxed{{{}}}".format

    def reward(text):
        turns = (PlayedTurn(text),)
        return RUBRICS["recall"].score(Episode(task, turns, None, "answer")).total

    assert reward(turn("wrong")) == 0.1
    assert 0 < reward(turn(" ".join("abcdefghijklmnopqrstuvwxyz"))) < 0.1
    assert reward("\\boxed{z}") == 0.0
