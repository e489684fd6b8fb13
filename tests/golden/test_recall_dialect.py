"""The recall dialect and rubric against what ReCall's own code made of the same inputs (recorded in the JSON files)."""

import json
from pathlib import Path

import pytest

from recall_env.answer import token_f1
from recall_env.env import SynToolEnv
from recall_env.task import Task

_GOLDEN = json.loads((Path(__file__).parent / "recall_dialect.json").read_text())
_F1 = json.loads((Path(__file__).parent / "recall_f1.json").read_text())


def _task(ground_truth="12.5") -> Task:
    return Task.from_row(
        {
            "data_source": "syntool_re_call",
            "question": _GOLDEN["question"],
            "ability": "re_call",
            "reward_model": {"style": "rule", "ground_truth": ground_truth},
            "extra_info": {"id": "golden", "env": _GOLDEN["env"], "func_schemas": _GOLDEN["func_schemas"]},
        }
    )


@pytest.fixture
def env(jail):
    env = SynToolEnv(dialect="recall", rubric="recall", sandbox=jail)
    yield env
    env.close()


def test_the_prompt_is_recalls_byte_for_byte(env):
    observation, info = env.reset(seed=0, options={"task": _task()})
    assert observation == _GOLDEN["prompt"]
    assert info["tools"] is None


@pytest.mark.parametrize("turn", _GOLDEN["turns"], ids=lambda turn: turn["output"][:40])
def test_what_a_turn_appends_is_recalls_byte_for_byte(env, turn):
    env.reset(seed=0, options={"task": _task()})
    observation, _, terminated, _, info = env.step(turn["output"])
    if turn["appended"] is None:
        assert terminated and observation == ""
    else:
        assert observation == turn["appended"]
        assert not terminated and info["valid"]


@pytest.mark.parametrize("case", _GOLDEN["rewards"], ids=lambda case: case["turns"][-1][:40])
def test_the_reward_is_recalls(env, case):
    env.reset(seed=0, options={"task": _task(case["ground_truth"])})
    for turn in case["turns"]:
        _, reward, terminated, _, info = env.step(turn)
    assert terminated
    assert reward == case["reward"]
    assert info["score"]["total"] == case["reward"]


def test_token_f1_is_recalls_to_the_last_bit():
    differing = [row for row in _F1["rows"] if token_f1(row[0], (row[1],)) != row[2]]
    assert len(_F1["rows"]) > 500 and differing == []


def test_without_an_answer_recall_pays_nothing(env):
    env.max_turns = 1
    env.reset(seed=0, options={"task": _task()})
    observation, reward, _, truncated, info = env.step(_GOLDEN["turns"][0]["output"])
    assert observation == _GOLDEN["turns"][0]["appended"]  # the tools still ran, as in ReCall
    assert truncated and reward == 0.0 and info["termination"] == "max_turns"
