"""The recall-inference dialect against what ReCall's inference client made of the same inputs (recorded)."""

import json
from pathlib import Path

import pytest

from recall_env.dialect import DIALECTS
from recall_env.env import SynToolEnv
from recall_env.task import Task

_TRAINING = json.loads((Path(__file__).parent / "recall_dialect.json").read_text())
_GOLDEN = json.loads((Path(__file__).parent / "recall_inference.json").read_text())
_DIFFERENT = {turn["output"] for turn in _GOLDEN["turns"]}
_SAME = [turn for turn in _TRAINING["turns"] if turn["output"] not in _DIFFERENT]


@pytest.fixture
def env(jail):
    env = SynToolEnv(dialect="recall-inference", sandbox=jail)
    row = {
        "question": _TRAINING["question"],
        "reward_model": {"style": "rule", "ground_truth": "12.5"},
        "extra_info": {"id": "golden", "env": _TRAINING["env"], "func_schemas": _TRAINING["func_schemas"]},
    }
    env.reset(seed=0, options={"task": Task.from_row(row)})
    yield env
    env.close()


def test_the_prompt_is_the_clients_byte_for_byte(env):
    observation, _ = env.reset(seed=0, options={"task": env.task})
    assert observation == _GOLDEN["prompt"] != _TRAINING["prompt"]


@pytest.mark.parametrize("turn", _GOLDEN["turns"] + _SAME, ids=lambda turn: turn["output"][:40])
def test_what_a_turn_appends_is_the_clients_byte_for_byte(env, turn):
    observation, _, terminated, _, _ = env.step(turn["output"])
    assert (observation, terminated) == (turn["appended"] or "", turn["appended"] is None)


@pytest.mark.parametrize("row", _GOLDEN["answers"], ids=lambda row: row["output"][:40])
def test_the_answer_is_what_the_evaluation_found(row):
    assert (DIALECTS["recall-inference"].parse(row["output"]).answer or "") == row["answer"]
