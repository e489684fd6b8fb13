"""SynToolVectorEnv: what gym.make_vec makes, and Gymnasium's own vector environments beside it."""

import json

import gymnasium as gym
import numpy as np
import pytest

from recall_env.env import SynToolEnv
from recall_env.errors import RecallError, TaskError
from recall_env.registry import register_tasks
from recall_env.rubric import Exact, Rubric, StateEquals
from recall_env.taskset import TaskSet
from recall_env.vector_env import SynToolVectorEnv


def call(name, **arguments):
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


@pytest.fixture
def envs(tasks, jail):
    envs = SynToolVectorEnv(4, tasks=tasks, sandbox=jail, max_turns=3)
    yield envs
    envs.close()


ANSWER, WAIT = "\\boxed{25}", call("total")


def test_make_vec_finds_it(tasks_file, shared_jail, registry_as_it_was):
    envs = gym.make_vec("ReCall/SynTool-v0", num_envs=64, dataset=str(tasks_file))
    assert isinstance(envs.unwrapped, SynToolVectorEnv) and envs.num_envs == 64 and envs.spec.kwargs["num_envs"] == 64
    if hasattr(gym.vector, "AutoresetMode"):
        assert envs.metadata["autoreset_mode"] is gym.vector.AutoresetMode.DISABLED
    observations, infos = envs.reset(seed=0)
    assert envs.observation_space.contains(observations) and envs.action_space.contains(envs.action_space.sample())
    assert len(set(infos["seed"])) == 64 and infos["_seed"].all()
    again = gym.make_vec(gym.envs.registration.EnvSpec.from_json(envs.spec.to_json()))
    assert again.num_envs == 64
    again.close()
    envs.close()
    (point, *_) = register_tasks(TaskSet.load(tasks_file))
    envs = gym.make_vec(point, num_envs=2)
    assert list(envs.reset(seed=0)[1]["task_id"]) == ["shop-0", "shop-0"]
    envs.close()


def test_each_sub_environment_is_the_environment_with_its_own_seed(envs, tasks, jail):
    observations, infos = envs.reset(seed=5)
    _, _, _, _, later = envs.step([call("draw")] * 4)
    for index in range(4):
        env = SynToolEnv(tasks=tasks, sandbox=jail)
        observation, info = env.reset(seed=5 + index)
        assert (observation, info["seed"]) == (observations[index], infos["seed"][index])
        assert env.step(call("draw"))[4]["tool_calls"] == later["tool_calls"][index]
        env.close()


def test_rewards_and_ends_are_arrays_and_infos_have_masks(envs):
    envs.reset(seed=0)
    observations, rewards, terminations, truncations, infos = envs.step((ANSWER, WAIT, "no idea", WAIT))
    assert rewards.dtype == np.float64 and rewards.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert terminations.dtype == np.bool_ and terminations.tolist() == [True, False, True, False]
    assert truncations.tolist() == [False] * 4
    assert observations[0] == "" and "<tool_response>" in observations[1]
    assert infos["_answer"].tolist() == infos["_score"].tolist() == terminations.tolist()
    assert infos["success"].tolist() == [True, False, False, False] and infos["answer"][0] == "25"
    assert infos["score"]["values"]["answer"].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert infos["valid"].all() and infos["tool_calls"][1][0]["status"] == "ok"


def test_a_rubric_of_ones_own_may_look_at_the_final_state(make_task, jail):
    rubric = Rubric({"answer": (0, Exact()), "state": (1, StateEquals())})
    source = make_task().source + "\ndef final_state():\n    return basket or 0\n"
    tasks = [make_task(number, source=source, final_state=wanted) for number, wanted in enumerate((["lamp"], 0))]
    envs = SynToolVectorEnv(2, tasks=TaskSet(tasks), sandbox=jail, rubric=rubric)
    envs.reset(options={"indices": [0, 1]})
    envs.step([call("add", item="lamp"), WAIT])
    _, rewards, _, _, infos = envs.step([ANSWER, ANSWER])
    assert rewards.tolist() == [1.0, 1.0]
    assert [state["final_state"]["value"] for state in infos["final_state"]] == [["lamp"], 0]
    envs.close()


def test_only_what_the_mask_marks_is_reset(envs):
    envs.reset(seed=0)
    observations, _, terminations, truncations, _ = envs.step((ANSWER, call("add", item="desk"), ANSWER, WAIT))
    ended = terminations | truncations
    with pytest.raises(gym.error.ResetNeeded, match=r"no episode is live in the sub-environments 0, 2; begin one"):
        envs.step([WAIT] * 4)
    options = {"reset_mask": ended, "index": 3}
    fresh, infos = envs.reset(options=options)
    assert options.keys() == {"reset_mask", "index"}
    assert infos["_task_id"].tolist() == ended.tolist() and infos["task_id"][0] == "shop-3"
    assert fresh[1] == observations[1] and "What do two lamps cost?" in fresh[0]
    _, _, _, _, infos = envs.step([WAIT] * 4)
    assert [calls[0]["value"] for calls in infos["tool_calls"]] == [0, 80, 0, 0]  # state lives on where none was reset
    assert infos["turn"].tolist() == [1, 2, 1, 2]


def test_nothing_can_be_stepped_before_its_first_reset(envs):
    with pytest.raises(gym.error.ResetNeeded, match="sub-environments 0, 1, 2, 3"):
        envs.step([WAIT] * 4)
    envs.reset(options={"reset_mask": np.array([True, False, True, True])})
    with pytest.raises(gym.error.ResetNeeded, match="sub-environments 1;"):
        envs.step([WAIT] * 4)


def test_options_name_a_task_for_all_or_one_for_each(envs, make_task):
    assert set(envs.reset(options={"id": "shop-2"})[1]["task_id"]) == {"shop-2"}
    assert list(envs.reset(options={"indices": [3, 1, 0, 2]})[1]["task_id"]) == ["shop-3", "shop-1", "shop-0", "shop-2"]
    given = [make_task(number).to_row() for number in (7, 8, 9)]
    _, infos = envs.reset(seed=[4, None, 6, 7], options={"tasks": [*given, None]})
    assert list(infos["task_id"][:3]) == ["shop-7", "shop-8", "shop-9"] and infos["task_id"][3] < "shop-6"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"options": {"indics": [0] * 4}}, "no option 'indics'; did you mean 'indices'?"),
        ({"options": {"ids": ["shop-1"]}}, "ids: expected 4, one for each sub-environment, got 1"),
        ({"options": {"reset_mask": [True] * 4}}, "expected a NumPy array of bool of shape (4,), got list"),
        ({"options": {"reset_mask": np.ones(4)}}, "got float64 of shape (4,)"),
        ({"options": {"reset_mask": np.zeros(4, dtype=bool)}}, "it marks no sub-environment"),
        ({"seed": [1, 2]}, "seed: expected 4, one for each sub-environment, got 2"),
    ],
)
def test_a_wrong_reset_is_one_clear_line(envs, arguments, words):
    with pytest.raises(RecallError) as caught:
        envs.reset(**arguments)
    assert words in str(caught.value)


def test_wrong_settings_are_refused_when_it_is_made():
    with pytest.raises(RecallError, match="did you mean 'hermes'"):
        SynToolVectorEnv(2, dialect="hermse")
    with pytest.raises(RecallError, match="num_envs: expected an integer of at least 1, got 0"):
        SynToolVectorEnv(0)


def test_wrong_actions_are_refused_before_any_turn_is_taken(envs):
    envs.reset(seed=0)
    with pytest.raises(RecallError, match="actions: expected 4, one for each sub-environment, got 1"):
        envs.step([WAIT])
    assert envs.step([WAIT] * 4)[4]["turn"].tolist() == [1] * 4


def test_an_error_of_one_comes_out_with_its_number_when_the_others_have_stepped(envs, make_task):
    good = make_task()
    envs.reset(options={"tasks": [good, make_task(1, source="def total(: pass"), good, good]})
    with pytest.raises(RecallError) as caught:
        envs.step([WAIT] * 4)
    assert caught.value.__notes__ == ["in sub-environment 1 of 4"]
    with pytest.raises(gym.error.ResetNeeded, match="sub-environments 1;"):
        envs.step([WAIT] * 4)
    envs.reset(options={"reset_mask": np.array([False, True, False, False])})
    assert envs.step([WAIT] * 4)[4]["turn"].tolist() == [2, 1, 2, 2]
    with pytest.raises(TaskError):
        envs.reset(options={"ids": ["shop-1", "shop-55", "shop-1", "shop-1"]})
    envs.reset(seed=0)


def test_it_renders_and_measures_each(tasks, jail):
    envs = SynToolVectorEnv(2, tasks=tasks, sandbox=jail, render_mode="ansi")
    assert envs.render() == (None, None) and envs.telemetry() == ({}, {})
    envs.reset(seed=0)
    envs.step([WAIT, ANSWER])
    assert "[tool]\n0\n" in envs.render()[0] and "\\boxed{25}" in envs.render()[1]
    assert len(envs.telemetry()[0]["call_s"]) == 1
    envs.close()
    envs.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # Gymnasium forks
@pytest.mark.parametrize(("mode", "settings"), [("sync", {}), ("async", {"shared_memory": False})])
def test_gymnasiums_own_vector_environments_play_it_too(tasks_file, shared_jail, mode, settings):
    make = {"num_envs": 3, "vectorization_mode": mode, "vector_kwargs": settings, "dataset": str(tasks_file)}
    envs = gym.make_vec("ReCall/SynTool-v0", **make)
    observations, infos = envs.reset(seed=5)
    ours = gym.make_vec("ReCall/SynTool-v0", num_envs=3, dataset=str(tasks_file))
    assert (observations, list(infos["seed"])) == (ours.reset(seed=5)[0], list(ours.reset(seed=5)[1]["seed"]))
    actions = (call("draw"), ANSWER, call("total"))
    theirs, own = envs.step(actions), ours.step(actions)
    for one, other in zip(theirs[:4], own[:4], strict=True):
        assert list(one) == list(other)
    assert list(theirs[4]["tool_calls"]) == list(own[4]["tool_calls"])
    envs.close()
    ours.close()
