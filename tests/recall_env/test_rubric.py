"""Rewards as named, weighted parts."""

import copy
import json
import pickle
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall_env.env import SynToolEnv
from recall_env.errors import EnvError, RecallError
from recall_env.rubric import (
    F1,
    RUBRICS,
    Budget,
    Episode,
    Exact,
    Format,
    Gate,
    LLMJudge,
    Numeric,
    PlayedTurn,
    Rubric,
    SetMatch,
    StateEquals,
    ToolUsed,
    Weighted,
    load_rubric,
    part,
)
from recall_env.task import Task
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


def test_a_rubric_is_instant_unless_it_asks_a_judge_or_has_a_part_of_somebodys_own(registry_as_it_was):
    @part
    def own(episode: Episode) -> float:
        return 1.0

    judge = LLMJudge("http://127.0.0.1:9/v1", "none")
    instant = {"answer": (1.0, Exact()), "both": (0.5, Gate(Exact(), Weighted({"used": (1.0, ToolUsed("add"))})))}
    assert Rubric(instant).instant and all(rubric.instant for rubric in RUBRICS.values())
    for slow in (own, judge):
        assert not Rubric({**instant, "slow": (0.5, slow)}).instant
        assert not Rubric({**instant, "slow": (0.5, Gate(Exact(), slow))}).instant


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


@part
def shouted(episode):
    return float(episode.final_text.isupper())


@part(bounds=(-2, 2))
@dataclass(frozen=True)
class Constant:
    value: Any = 0.5

    def __call__(self, episode):
        if isinstance(self.value, str):
            raise LookupError(self.value)
        return self.value


def value(node, episode):
    return Rubric({"answer": (0, Exact()), "it": (1, node)}).score(episode).values["it"]


@pytest.mark.parametrize(
    ("answer", "truth", "near"),
    [
        ("102", "100", 1),
        ("102.0001", "100", 0),
        ("98", "100", 1),
        ("1,020", "1e3", 1),
        ("-102", "-100", 1),
        ("100", "-100", 0),
        ("0", "0", 1),
        ("0.001", "0", 0),
        ("5 kg", "5", 0),
        ("five", "5", 0),
        ("9e999999", "9e999999", 1),
        ("9e999999", "-9e999999", 0),
        ("1e-999999", "0", 0),
    ],
)
def test_numeric_takes_what_is_near_an_accepted_number(make_task, answer, truth, near):
    task = make_task(ground_truth=("no number", truth))
    assert value(Numeric(rel_tol=0.02), episode(task, answer=answer)) == near
    assert value(Numeric(), episode(task, answer=None)) == 0.0


def test_numerics_tolerance_is_the_larger_of_the_two(make_task):
    near = Numeric(rel_tol=0.0, abs_tol=0.5)
    assert [value(near, episode(make_task(ground_truth=("10",)), answer=a)) for a in ("10.5", "10.51")] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("answer", "whole", "partial"),
    [("b, a", 1, 1), ("a,a,b", 1, 1), ("A, the b", 1, 1), ("a", 0, 2 / 3), ("a, c", 0, 0.5), ("", 0, 0), (None, 0, 0)],
)
def test_a_set_is_its_items_in_any_order(make_task, answer, whole, partial):
    one = episode(make_task(ground_truth=("z", "a, b")), answer=answer)
    assert value(SetMatch(), one) == whole and value(SetMatch(partial=True), one) == pytest.approx(partial)


def test_items_of_a_set_are_numbers_where_they_spell_some(make_task):
    one = episode(make_task(ground_truth=("1,000; 2.50",)), answer="2.5;1e3")
    assert value(SetMatch(separator=";"), one) == 1.0


def test_a_tool_is_used_when_it_came_back_ok_often_enough(task):
    add, total = ToolCall("add", {}), ToolCall("total", {})
    one = episode(task, (add, OK), (add, OK), (add, BAD), (total, BAD))
    parts = [ToolUsed("add"), ToolUsed("add", 2, 2), ToolUsed("add", 3), ToolUsed("add", 0, 1), ToolUsed("total")]
    assert [value(node, one) for node in parts] == [1, 1, 0, 0, 0]
    assert value(ToolUsed("total", 0, 0), one) == 1.0


@pytest.mark.parametrize(
    ("budget", "used", "expected"),
    [
        (Budget(calls=2), 0, 1), (Budget(calls=2), 2, 1), (Budget(calls=2), 3, 0.5), (Budget(calls=2), 4, 0),
        (Budget(calls=2), 9, 0), (Budget(calls=0), 0, 1), (Budget(calls=0), 1, 0), (Budget(calls=2, zero_at=3), 3, 0),
        (Budget(calls=1, zero_at=5), 2, 0.75),
    ],
)  # fmt: skip
def test_a_budget_pays_in_full_within_it_and_falls_evenly_to_nothing(task, budget, used, expected):
    assert value(budget, episode(task, *[(ToolCall("total", {}), BAD)] * used)) == expected


def test_a_budget_may_count_turns(task):
    turns = [value(Budget(turns=2), Episode(task, (PlayedTurn("x"),) * n, "1", "answer")) for n in (1, 2, 3, 4)]
    assert turns == [1, 1, 0.5, 0]


def test_the_kinds_of_format(task):
    unread = (ToolCall("", {}, error="no"), ToolResult("parse_error"))
    assert value(Format("answer"), episode(task, answer="1")) == 1.0
    assert (
        value(Format("answer"), episode(task)) == value(Format("answer"), episode(task, termination="max_turns")) == 0
    )
    assert value(Format("calls"), episode(task, (ToolCall("total", {}), BAD))) == 1.0
    assert value(Format("calls"), episode(task, unread)) == 0.0


def test_a_gate_pays_what_stands_behind_it_where_its_condition_holds(task):
    gate = Gate(Exact(), Weighted({"few": (0.5, Budget(calls=4)), "loud": (0.25, shouted)}))
    rubric = Rubric({"answer": (1, Exact()), "gate": (1, gate)})
    assert rubric.names == ["answer", "gate", "gate.condition", "gate.then", "gate.then.few", "gate.then.loud"]
    score = rubric.score(episode(task, answer="25", texts=["YES"]))
    assert score.total == 1.75 and score.values["gate"] == score.values["gate.then"] == 0.75
    closed = rubric.score(episode(task, answer="26", texts=["YES"]))
    assert closed.total == 0.0 and list(closed.values) == rubric.names and closed.values["gate.then.few"] == 0.0


def test_behind_a_closed_gate_nothing_is_looked_at(task):
    assert value(Gate(Exact(), Constant("boom")), episode(task, answer="26")) == 0.0
    assert value(Gate(Budget(calls=0, zero_at=2), Constant("boom")), episode(task, (ToolCall("total", {}), OK))) == 0.0


@pytest.mark.parametrize("made", [float("nan"), float("inf"), 2.5, -2.5, None, "LookupError", [1]])
def test_a_part_that_raises_or_is_out_of_bounds_is_the_authors_fault_and_named(task, made):
    rubric = Rubric({"answer": (1, Exact()), "outer": (1, Weighted({"inner": (0, Constant(made))}))})
    with pytest.raises(EnvError, match=r"rubric part 'outer\.inner'(:| raised LookupError: LookupError$)"):
        rubric.score(episode(task))


def test_a_part_may_say_that_it_goes_below_0_and_a_weight_too(task):
    assert value(Constant(-2), episode(task)) == -2.0
    penalty = Rubric({"answer": (1, Exact()), "calls": (-0.5, ToolUsed("add"))})
    assert penalty.score(episode(task, (ToolCall("add", {}), OK), answer="25")).total == 0.5


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"f1": (1, F1())}, "needs a part named 'answer'"),
        ({}, "needs named parts"),
        ({"answer": (1, Exact)}, r"got <class .*; write Exact\(\)"),
        ({"answer": (1, lambda episode: 1)}, "make it one with @part"),
        ({"answer": Exact()}, r"expected \(weight, part\)"),
        ({"answer": (float("nan"), Exact())}, "expected a finite number as its weight"),
        ({"a.b": (1, Exact())}, "expected a name without a dot"),
    ],
)
def test_what_is_no_rubric_is_refused_when_it_is_made(parts, words):
    with pytest.raises(RecallError, match=words):
        Rubric(parts)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Budget(), "give calls or turns, one of the two"),
        (lambda: Budget(calls=1, turns=1), "give calls or turns"),
        (lambda: Budget(calls=4, zero_at=4), "zero_at: expected more than 4, got 4"),
        (lambda: Numeric(rel_tol=-1), "expected a number of at least 0"),
        (lambda: SetMatch(separator=""), "separator: expected text"),
        (lambda: ToolUsed("a", 2, 1), "at_most 1 is below at_least 2"),
        (lambda: Format("anser"), "no kind 'anser'; did you mean 'answer'"),
        (lambda: StateEquals("_hidden"), "without a leading _"),
        (lambda: Gate(Exact(), None), "Gate: then: expected a part"),
        (lambda: part(type("Exact", (), {"__call__": None})), "expected a dataclass"),
        (lambda: part(dataclass(type("Exact", (), {}))), "there is a part 'Exact' already"),
    ],
)
def test_settings_of_parts_are_checked_when_they_are_made(make, words):
    with pytest.raises(RecallError, match=words):
        make()


LEAVES = st.sampled_from(
    [Exact(), Numeric(0.1), F1(), SetMatch(";", True), ToolUsed("a", 0, 3), Budget(turns=3), Format("calls"), shouted]
)
NODES = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(Gate, inner, inner)
        | st.dictionaries(st.text("abc", min_size=1), st.tuples(st.floats(-2, 2), inner), min_size=1).map(Weighted)
    ),
)


@given(node=NODES)
def test_a_rubric_is_the_same_after_json_pickle_and_copy(node):
    rubric = Rubric({"answer": (0, Exact()), "it": (0.5, node)})
    again = Rubric.from_dict(json.loads(json.dumps(rubric.to_dict())))
    for same in (again, pickle.loads(pickle.dumps(rubric)), copy.deepcopy(rubric)):
        assert same == rubric and same.to_dict() == rubric.to_dict() and hash(same) == hash(rubric)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ([], "expected named parts"),
        ({"answer": {"part": "Exact"}}, "rubric.answer: expected a part with a weight"),
        ({"answer": {"weight": 1, "part": "Exactt"}}, "no rubric part 'Exactt'; did you mean 'Exact'"),
        ({"answer": {"weight": 1, "part": "Numeric", "rel": 1}}, "Numeric has no 'rel'; did you mean 'rel_tol'"),
        ({"answer": {"weight": 1, "part": "Numeric", "rel_tol": "x"}}, "expected a number, got 'x'"),
        ({"answer": {"weight": 1, "part": "Gate", "then": {"part": "Exact"}}}, r"answer\.condition: expected a part"),
        ({"answer": {"weight": 1, "part": "ToolUsed"}}, "rubric.answer: .*'tool'"),
        ({"answer": {"weight": 1, "part": "Weighted", "parts": 3}}, "rubric.answer.parts: expected named parts"),
    ],
)  # fmt: skip
def test_a_written_rubric_that_is_none_says_where(tree, words):
    with pytest.raises(RecallError, match=words):
        Rubric.from_dict(tree)


def test_a_rubric_is_named_or_stands_in_a_file(tmp_path):
    (tmp_path / "mine.toml").write_text(
        '[answer]\nweight = 0.8\npart = "Exact"\n[steps]\nweight = 0.2\npart = "Budget"\ncalls = 4\n'
    )
    mine = Rubric({"answer": (0.8, Exact()), "steps": (0.2, Budget(calls=4))})
    assert load_rubric(str(tmp_path / "mine.toml")) == mine
    (tmp_path / "mine.json").write_text(json.dumps(mine.to_dict()))
    assert load_rubric(str(tmp_path / "mine.json")) == mine and load_rubric("answer") is RUBRICS["answer"]
    for name, words in [("anser", "did you mean 'answer'"), (str(tmp_path / "no.toml"), "cannot be read")]:
        with pytest.raises(RecallError, match=words):
            load_rubric(name)


STATE = Rubric({"answer": (0, Exact()), "state": (1, StateEquals())})
BASKET = "\ndef final_state():\n    return {'basket': basket, 'paid': sum(PRICES[i] for i in basket) / 3}\n"


@pytest.fixture
def with_state(make_task):
    """make_task, with a source that tells its state."""
    return lambda **changes: make_task(source=make_task().source + BASKET, **changes)


def play(env, task, *actions):
    env.reset(seed=1, options={"task": task})
    for action in actions:
        _, reward, _, _, info = env.step(action)
    return reward, info


@pytest.fixture
def state_env(jail):
    env = SynToolEnv(sandbox=jail, rubric=STATE, max_turns=2)
    yield env
    env.close()


ADD = '<tool_call>{"name": "add", "arguments": {"item": "lamp", "count": 2}}</tool_call>'
WAIT = '<tool_call>{"name": "wait_forever", "arguments": {}}</tool_call>'


def test_the_state_after_the_last_turn_is_compared_on_the_host(state_env, with_state):
    task = with_state(final_state={"basket": ["lamp", "lamp"], "paid": 8.33333333333})
    reward, info = play(state_env, task, ADD, "\\boxed{1}")
    assert reward == 1.0 and info["final_state"]["final_state"]["value"]["basket"] == ["lamp", "lamp"]
    assert play(state_env, task, ADD, ADD)[0] == 0.0  # at the end of the turns too
    assert play(state_env, task, "\\boxed{1}")[0] == 0.0
    untouched = with_state(final_state={"basket": [], "paid": 0})
    assert play(state_env, untouched, "\\boxed{1}")[0] == 1.0


def test_the_model_cannot_call_the_function_that_tells_the_state(state_env, with_state):
    task = with_state(final_state=1)
    state_env.reset(options={"task": task})
    observation, *_ = state_env.step('<tool_call>{"name": "final_state", "arguments": {}}</tool_call>')
    assert "no tool 'final_state'" in observation


def test_a_state_that_the_agent_has_broken_is_not_the_expected_one(state_env, with_state):
    task = with_state(final_state={"basket": []}, limits={"call_timeout_s": 0.5})
    reward, info = play(state_env, task, WAIT, "\\boxed{1}")
    assert reward == 0.0 and info["valid"] and info["final_state"]["final_state"]["status"] == "timeout"


def test_a_task_that_cannot_be_asked_for_its_state_is_the_authors_fault(state_env, make_task, with_state):
    with pytest.raises(EnvError, match=r"rubric part 'state': .*defines no function final_state\(\)"):
        play(state_env, make_task(final_state=1), "\\boxed{1}")
    with pytest.raises(EnvError, match=r"has no extra_info\.final_state"):
        play(state_env, with_state(), "\\boxed{1}")
    with pytest.raises(RecallError, match="dialect recall keeps no state"):
        SynToolEnv(rubric=STATE, dialect="recall")


def test_a_final_state_is_part_of_the_row_and_of_its_hash_only_where_there_is_one(make_task):
    task = make_task(final_state={"a": [1, None]})
    assert Task.from_row(task.to_row()) == task and task.content_hash != make_task().content_hash
    assert "final_state" not in make_task().to_row()["extra_info"]
