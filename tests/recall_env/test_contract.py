"""The contract of an environment, promise by promise: what DESIGN's section on the env says, where test_env.py does
not hold it already. Faults of our own and of authors: test_env_faults.py. Ids: test_registry.py."""

import copy
import json
import subprocess
import sys
import typing
import warnings

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

from recall_env import register_tasks
from recall_env.dialect import DIALECTS
from recall_env.env import SynToolEnv
from recall_env.errors import RecallError
from recall_env.registry import SYNTOOL_ID, point_id
from recall_env.rubric import RUBRICS
from recall_env.spaces import Unicode
from recall_env.taskset import TaskSet
from recall_env.tool_call import AGENT_STATUSES, Status

EVERY_STATUS = {
    *("ok", "tool_error", "timeout", "out_of_memory", "violation"),
    *("parse_error", "unknown_tool", "invalid_arguments", "output_truncated", "sandbox_failure"),
}
ALWAYS = {"task_id", "turn", "messages", "tool_calls", "failure", "valid"}
AT_RESET = ALWAYS | {"tools", "seed"}
AT_END = ALWAYS | {"answer", "termination", "success", "score"}


def call(name, **arguments):
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


@pytest.fixture
def env(tasks, jail):
    env = SynToolEnv(tasks=tasks, sandbox=jail, max_turns=4)
    yield env
    env.close()


@pytest.mark.parametrize("dialect", list(DIALECTS))
@pytest.mark.parametrize("kind", ["every task", "a data point"])
def test_check_env_passes_without_a_warning_for_every_kind(tasks_file, shared_jail, registry_as_it_was, dialect, kind):
    register_tasks(TaskSet.load(tasks_file))
    where = {SYNTOOL_ID: {"dataset": str(tasks_file)}, point_id("shop-1"): {}}
    env_id = SYNTOOL_ID if kind == "every task" else point_id("shop-1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rubric in RUBRICS:
            env = gym.make(env_id, dialect=dialect, rubric=rubric, render_mode="ansi", **where[env_id])
            check_env(env.unwrapped)
            env.close()


@pytest.mark.parametrize("dialect", list(DIALECTS))
def test_observations_are_text_and_the_messages_say_the_same(tasks, jail, dialect):
    env = SynToolEnv(tasks=tasks, sandbox=jail, dialect=dialect)
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert observation == env.dialect.observation(info["messages"])
    gold = tasks[0].solution.calls
    for turn in (*map(env.dialect.write_call, gold), env.dialect.write_answer(tasks[0], "25")):
        observation, *_, info = env.step(turn)
        assert type(observation) is str and all(type(message["content"]) is str for message in info["messages"])
        assert observation == (env.dialect.observation(info["messages"]) if info["messages"] else "")
    assert info["termination"] == "answer"
    env.close()


def test_the_space_takes_any_text_and_samples_fit_it():
    space, again = Unicode(seed=3), Unicode(seed=3)
    samples = [space.sample() for _ in range(50)]
    assert all(map(space.contains, samples)) and samples == [again.sample() for _ in range(50)]
    assert space.contains("é 灯 😀 \x00") and not space.contains(b"bytes") and not space.contains(None)
    assert space == Unicode() and copy.deepcopy(space) == space and space != gym.spaces.Text(3)
    assert any(not sample.isascii() for sample in samples)


def test_info_has_exactly_the_keys_it_promises(env):
    _, info = env.reset(seed=0)
    assert info.keys() == AT_RESET
    *_, info = env.step(call("total"))
    assert info.keys() == ALWAYS
    assert info["tool_calls"][0].keys() == {
        *("index", "call_id", "name", "arguments", "status", "value", "stdout", "error")
    }
    *_, info = env.step("\\boxed{25}")
    assert info.keys() == AT_END and info["score"].keys() == {"total", "values"}


def test_the_statuses_are_those_of_the_contract_and_each_has_one_to_blame():
    assert set(typing.get_args(Status)) == EVERY_STATUS
    assert AGENT_STATUSES == {"parse_error", "unknown_tool", "invalid_arguments"}


def test_what_the_jail_stops_is_a_status_and_the_tools_fault(env, make_task):
    source = "import os\ndef total():\n    os.kill(1, 9)\n    raise SystemExit(3)\ndef draw():\n    return 'x' * 10**10"
    env.reset(seed=0, options={"task": make_task(source=source)})
    *_, info = env.step(call("draw") + call("total"))
    assert {one["status"] for one in info["tool_calls"]} <= {"out_of_memory", "violation", "tool_error"}
    assert info["tool_calls"][0]["status"] == "out_of_memory" and info["failure"] == "tool" and info["valid"] is True


def test_every_call_of_a_turn_runs_in_order_in_one_interpreter(env):
    env.reset(seed=0)
    *_, info = env.step(call("add", item="lamp") + call("add", item="chair") + call("total"))
    assert [one["index"] for one in info["tool_calls"]] == [0, 1, 2]
    assert info["tool_calls"][1]["value"] == {"basket": ["lamp", "chair"]} and info["tool_calls"][2]["value"] == 12.5


def test_a_name_is_looked_up_and_never_run(env):
    env.reset(seed=0)
    *_, info = env.step(call("__import__('os').getcwd") + call("total", **{"x=1) or print(1": 2}))
    assert [one["status"] for one in info["tool_calls"]] == ["unknown_tool", "invalid_arguments"]
    assert env.telemetry()["open_s"] == []  # neither reached a session


@pytest.mark.parametrize(("settings", "turns"), [({"max_turns": 2}, 2), ({"text_budget": 250}, 3)])
def test_a_budget_truncates_when_the_tools_have_answered(tasks, jail, settings, turns):
    env = SynToolEnv(tasks=tasks, sandbox=jail, **settings)
    env.reset(seed=0)
    taken, truncated = 0, False
    while not truncated:
        observation, reward, terminated, truncated, info = env.step(call("total"))
        taken += 1
        assert not terminated and "<tool_response>" in observation
    assert taken == turns and info["termination"] == ("max_turns" if "max_turns" in settings else "budget")
    assert reward == 0.0 and info["valid"] and info["answer"] is None and info["success"] is False
    env.reset(seed=0)
    assert env.step(call("total"))[3] is False  # a budget is an episode's
    env.close()


def test_the_time_budget_is_that_of_the_tools(tasks, jail):
    env = SynToolEnv(tasks=tasks, sandbox=jail, time_budget_s=1e-9)
    env.reset(seed=0)
    assert env.step(call("nothing_like_it"))[3] is False  # no tool ran
    *_, truncated, info = env.step(call("total"))
    assert truncated and info["termination"] == "budget"
    env.reset(seed=0)
    assert env.step("\\boxed{25}")[2] is True
    with pytest.raises(RecallError, match="time_budget_s: expected None or more than 0, got 0"):
        SynToolEnv(time_budget_s=0)


PLAY = """
import json, sys
import gymnasium as gym, recall_env
env = gym.make("ReCall/SynTool-v0", dataset=sys.argv[1], render_mode="ansi")
steps = [env.reset(seed=5)] + [env.step(action) for action in json.loads(sys.argv[2])]
print(json.dumps([steps, env.render(), env.spec.to_json()]))
env.close()
"""


def test_other_processes_with_other_hash_seeds_play_the_same_bytes(tasks_file, make_task):
    source = "import random, time, uuid\ndef draw():\n    return [random.random(), time.time(), str(uuid.uuid4()), "
    source += "list({'a', 'b', 'c', 'd', 'e'}), hash('x')]"
    tasks_file.write_text(json.dumps(make_task(source=source).to_row()))
    actions = json.dumps([call("draw"), call("draw") + call("total"), "\\boxed{25}"])
    played = [
        subprocess.run(
            [sys.executable, "-c", PLAY, str(tasks_file), actions],
            env={"PYTHONHASHSEED": hash_seed, "PATH": "", "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed, zone in (("0", "UTC"), ("7", "Asia/Tokyo"))
    ]
    assert played[0] == played[1] and "uuid" not in json.loads(played[0])[0][1][0]


def test_no_clock_is_in_info_and_telemetry_has_it(env):
    _, info = env.reset(seed=0)
    infos = [info, env.step(call("total"))[4], env.step("\\boxed{25}")[4]]
    assert "_s" not in {key[-2:] for info in infos for key in info}
    telemetry = env.telemetry()
    assert telemetry.keys() == {"open_s", "call_s", "step_s", "infra_retries"}
    assert len(telemetry["step_s"]) == 2 and len(telemetry["call_s"]) == len(telemetry["open_s"]) == 1
    assert all(seconds > 0 for seconds in telemetry["step_s"]) and telemetry["infra_retries"] == 0
    telemetry["step_s"].clear()
    assert len(env.telemetry()["step_s"]) == 2
    env.reset(seed=0)
    assert env.telemetry()["step_s"] == []  # an episode's own


def test_rendering_is_text_in_ansi_mode_and_nothing_otherwise(tasks, jail):
    env = SynToolEnv(tasks=tasks, sandbox=jail, render_mode="ansi")
    assert env.metadata["render_modes"] == ["ansi"]
    env.reset(seed=0)
    env.step(call("total"))
    rendered = env.render()
    roles = [line for line in rendered.splitlines() if line in ("[system]", "[user]", "[assistant]", "[tool]")]
    assert roles == ["[system]", "[user]", "[assistant]", "[tool]"]
    env.close()
    silent = SynToolEnv(tasks=tasks, sandbox=jail)
    silent.reset(seed=0)
    assert silent.render() is None


@pytest.mark.parametrize("settings", [{}, {"index": 2}, {"task_id": "shop-3", "dialect": "openai"}])
def test_a_spec_goes_through_json_and_plays_the_same(tasks_file, settings):
    env = gym.make(SYNTOOL_ID, dataset=str(tasks_file), max_turns=3, time_budget_s=30.0, **settings)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.spec == env.spec and again.unwrapped.max_turns == 3
    assert again.reset(seed=4) == env.reset(seed=4)
    assert again.step("\\boxed{25}") == env.step("\\boxed{25}")


def test_the_truth_of_a_task_stays_on_the_host_in_every_dialect(make_task, jail):
    source = "import os, sys\ndef total():\n    return [sorted(globals()), sorted(os.environ), sys.argv, repr(vars())]"
    secret = make_task(ground_truth=("zebra-77",), source=source)
    for name in DIALECTS:
        env = SynToolEnv(tasks=TaskSet([secret]), sandbox=jail, dialect=name)
        shown = [env.reset(seed=0)]
        shown += [env.step(env.dialect.write_call(made)) for made in secret.solution.calls[1:]]
        assert "zebra-77" not in json.dumps(shown)
        env.close()
