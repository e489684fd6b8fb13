"""SynToolEnv in a real jail: the contract of an episode."""

import json
import warnings

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

from recall_env.dialect.hermes import Hermes
from recall_env.env import SynToolEnv
from recall_env.errors import EnvError, RecallError, TaskError
from recall_env.sandbox import Limits
from recall_env.taskset import TaskSet


def call(name, **arguments):
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


@pytest.fixture
def env(tasks, jail):
    env = SynToolEnv(tasks=tasks, sandbox=jail, max_turns=4)
    yield env
    env.close()


def statuses(info):
    return [one["status"] for one in info["tool_calls"]]


@pytest.mark.parametrize("dialect", ["hermes", "recall"])
@pytest.mark.parametrize("max_turns", [1, 10])
def test_check_env_passes_without_a_warning(tasks_file, shared_jail, dialect, max_turns):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(
            "ReCall/SynTool-v0", dataset=str(tasks_file), dialect=dialect, max_turns=max_turns, render_mode="ansi"
        )
        check_env(env.unwrapped)
        env.close()


def test_an_episode_keeps_state_from_call_to_call_and_ends_in_a_reward(env):
    observation, info = env.reset(seed=7)
    assert "What do two lamps cost?" in observation
    assert [m["role"] for m in info["messages"]] == ["system", "user"]
    assert len(info["tools"]) == 6 and info["valid"] and info["failure"] is None and info["turn"] == 0
    observation, reward, terminated, truncated, info = env.step(
        call("add", item="lamp") + call("add", item="lamp") + call("total")
    )
    assert observation == "\n".join(
        f"<tool_response>\n{body}\n</tool_response>"
        for body in ('{"basket":["lamp"]}', '{"basket":["lamp","lamp"]}', "25.0")
    )
    assert (reward, terminated, truncated, info["turn"]) == (0.0, False, False, 1)
    assert [m["role"] for m in info["messages"]] == ["tool"] * 3
    assert info["tool_calls"][1] == {
        "index": 1,
        "call_id": None,
        "name": "add",
        "arguments": {"item": "lamp"},
        "status": "ok",
        "value": {"basket": ["lamp", "lamp"]},
        "stdout": "",
        "error": None,
    }
    observation, reward, terminated, truncated, info = env.step("<think>so</think> It is \\boxed{25.00}")
    assert (observation, reward, terminated, truncated) == ("", 1.0, True, False)
    assert info["answer"] == "25.00" and info["success"] is True and info["termination"] == "answer"
    assert info["score"]["total"] == 1.0 and info["score"]["values"]["answer"] == 1.0


def test_state_dies_with_the_episode(env):
    for _ in range(2):
        env.reset(seed=1)
        assert env.step(call("add", item="desk"))[4]["tool_calls"][0]["value"] == {"basket": ["desk"]}


def test_the_initial_state_reaches_the_tools(env, make_task):
    env.reset(seed=0, options={"task": make_task(state={"prices": {"lamp": 99}})})
    assert env.step(call("get_price", item="lamp"))[4]["tool_calls"][0]["value"] == 99


def test_every_fault_of_a_call_has_its_status_and_a_text_that_says_the_fix(env):
    env.reset(seed=0)
    observation, _, _, _, info = env.step(
        "<tool_call>{oops}</tool_call>"
        + call("get_prise", item="lamp")
        + call("get_price", item=3)
        + call("get_price", item="sofa")
        + call("shout", text="x" * 40_000)
        + call("shout", text="hi")
    )
    assert statuses(info) == [
        "parse_error",
        "unknown_tool",
        "invalid_arguments",
        "tool_error",
        "output_truncated",
        "ok",
    ]
    assert "did you mean 'get_price'?" in observation
    assert "item: expected string, got integer 3" in observation
    assert "KeyError: 'sofa'" in observation
    assert '{"result":"HI","output":"hi\\n"}' in observation
    assert info["failure"] == "agent" and info["valid"] is True


def test_a_tools_fault_is_not_the_agents(env):
    env.reset(seed=0)
    assert env.step(call("get_price", item="sofa"))[4]["failure"] == "tool"
    assert env.step(call("get_price", item="lamp"))[4]["failure"] is None


def test_a_call_that_never_returns_is_a_timeout_and_the_episode_goes_on(env, jail):
    class Hasty:
        """The real pool, less patient."""

        def open(self, source, **settings):
            return jail.open(source, **(settings | {"limits": Limits(call_timeout_s=0.5)}))

    env.sandbox = Hasty()
    env.reset(seed=0)
    assert statuses(env.step(call("wait_forever"))[4]) == ["timeout"]
    _, _, terminated, truncated, info = env.step(call("total"))
    assert statuses(info) == ["timeout"] and not terminated and not truncated
    assert env.step("\\boxed{25}")[1] == 1.0


def test_a_call_with_no_valid_name_opens_no_session(env):
    env.reset(seed=0)
    env.step(call("nothing_like_it"))
    assert env.telemetry()["open_s"] == []
    env.step(call("total"))
    assert len(env.telemetry()["open_s"]) == 1 and len(env.telemetry()["call_s"]) == 1


def test_the_turn_budget_truncates_after_the_tools_have_run(env):
    env.reset(seed=0)
    for turn in range(1, 5):
        observation, reward, terminated, truncated, info = env.step(call("total"))
        assert not terminated and truncated == (turn == 4)
    assert "0" in observation and reward == 0.0
    assert info["termination"] == "max_turns" and info["answer"] is None and info["success"] is False
    with pytest.raises(gym.error.ResetNeeded):
        env.step("more")


def test_a_turn_without_call_or_answer_ends_the_episode_as_the_agents_fault(env):
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step("I do not know.")
    assert terminated and reward == 0.0 and info["answer"] is None and info["failure"] == "agent"


def test_a_task_may_name_another_extractor(env, make_task):
    env.reset(options={"task": make_task(extractor="text")})
    assert env.step("<think>x</think> 25 ")[1] == 1.0


def test_the_same_seed_and_actions_give_the_same_bytes(tasks, jail):
    def play(seed):
        env = SynToolEnv(tasks=tasks, sandbox=jail)
        steps = [env.reset(seed=seed)]
        steps += [env.step(action) for action in (call("draw") + call("draw"), call("draw"), "\\boxed{1}")]
        env.close()
        return json.dumps(steps)

    assert play(5) == play(5)
    assert play(5) != play(6)


def test_a_seed_gives_a_task_the_same_world_whether_it_was_drawn_or_named(env, tasks):
    _, drawn = env.reset(seed=11)
    _, named = env.reset(seed=11, options={"id": drawn["task_id"]})
    assert named["seed"] == drawn["seed"]
    chosen = {env.reset(seed=seed)[1]["task_id"] for seed in range(40)}
    assert len(chosen) == len(tasks)


def test_reset_plays_what_its_options_name(env, tasks, make_task):
    assert env.reset(options={"index": 2})[1]["task_id"] == "shop-2"
    assert env.reset(options={"index": -1})[1]["task_id"] == "shop-5"
    assert env.reset(options={"id": "shop-3"})[1]["task_id"] == "shop-3"
    assert env.reset(options={"task": make_task(9)})[1]["task_id"] == "shop-9"
    assert env.reset(options={"task": make_task(8).to_row()})[1]["task_id"] == "shop-8"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"indx": 1}, "no option 'indx'; did you mean 'index'?"),
        ({"index": 1, "id": "shop-1"}, "reset takes one of the options task, index, id, got index, id"),
        ({"index": 6}, "6 tasks; there is no index 6"),
        ({"id": "shop-55"}, "no task 'shop-55'; did you mean 'shop-5'?"),
        ({"task": {"question": 1}}, "options['task']"),
    ],
)
def test_a_wrong_option_is_one_clear_line(env, options, words):
    with pytest.raises(RecallError) as caught:
        env.reset(options=options)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dialect": "hermse"}, "no dialect 'hermse'; did you mean 'hermes'?"),
        ({"rubric": "anwser"}, "no rubric 'anwser'; did you mean 'answer'?"),
        ({"sandbox": "nsjial"}, "no sandbox 'nsjial'; did you mean 'nsjail'?"),
        ({"max_turns": 0}, "max_turns: expected an integer of at least 1, got 0"),
        ({"index": 1, "task_id": "a"}, "give index or task_id, not both"),
        ({"render_mode": "human"}, "render_mode: expected None or 'ansi', got 'human'"),
    ],
)
def test_a_wrong_constructor_argument_is_one_clear_line(arguments, words):
    with pytest.raises(RecallError) as caught:
        SynToolEnv(**arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize("dialect", ["hermes", "recall", "submit"])
def test_lone_surrogates_of_an_agent_reach_nobody(dialect, task, shared_jail):
    env = SynToolEnv(tasks=TaskSet([task]), dialect=dialect)
    env.reset(seed=0)
    observation, *_ = env.step('<think>\ud800</think><tool_call>{"name": "shout\udc00", "arguments": {}}</tool_call>')
    observation.encode()
    env.close()


def test_a_task_that_needs_a_service_is_refused_and_not_played_without_it(env, make_task):
    with pytest.raises(TaskError, match="needs the service 'search'"):
        env.reset(options={"task": make_task(services=("search",))})


def test_a_schema_that_is_none_is_the_authors_fault(env, make_task):
    schema = {"name": "total", "parameters": {"type": "dict"}}
    with pytest.raises(TaskError, match="schema of tool 'total'"):
        env.reset(options={"task": make_task(schemas=(schema,))})


def test_a_source_that_does_not_load_is_the_authors_fault_with_env_task_and_seed(env, make_task):
    _, info = env.reset(seed=3, options={"task": make_task(source="def total(: pass")})
    with pytest.raises(EnvError, match=rf"tasks task shop-0, seed {info['seed']}: .*SyntaxError"):
        env.step(call("total"))
    with pytest.raises(gym.error.ResetNeeded):
        env.step(call("total"))


def test_neither_truth_nor_gold_shows_in_what_the_agent_sees(env, make_task):
    secret = make_task(ground_truth=("zebra-77",), source="def total():\n    return list(globals())")
    observation, info = env.reset(seed=0, options={"task": secret})
    shown = [observation, json.dumps(info)]
    for action in (call("total"), call("totl"), "\\boxed{1}"):
        observation, *_, info = env.step(action)
        shown += [observation, json.dumps(info)]
    assert "zebra-77" not in "".join(shown)


def test_info_shares_nothing_with_the_environment(env):
    _, info = env.reset(seed=0)
    info["tools"][0]["function"]["name"] = info["messages"][1]["content"] = "changed"
    _, again = env.reset(seed=0)
    assert again["tools"][0]["function"]["name"] == "get_price"
    assert again["messages"][1]["content"] == "What do two lamps cost?"


def test_render_shows_the_episode_as_text(tasks, jail):
    env = SynToolEnv(tasks=tasks, sandbox=jail, render_mode="ansi")
    env.reset(seed=0)
    env.step(call("total"))
    env.close()
    assert "[tool]\n0\n" in env.render() and "[assistant]\n<tool_call>" in env.render()


def test_an_action_that_is_no_text_is_refused(env):
    env.reset(seed=0)
    with pytest.raises(RecallError, match="action: expected the assistant's text, got dict"):
        env.step({"role": "assistant"})


def test_an_empty_set_of_tasks_is_one_line(jail):
    with pytest.raises(TaskError, match="holds no task"):
        SynToolEnv(tasks=TaskSet([]), sandbox=jail).reset()


def test_the_spec_survives_json(tasks_file):
    env = gym.make("ReCall/SynTool-v0", dataset=str(tasks_file), task_id="shop-1")
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.reset(seed=1)[1] == env.reset(seed=1)[1]


@pytest.mark.parametrize("dialect", ["hermes", "recall", "submit"])
@pytest.mark.parametrize("depth", [63, 65, 600, 5000])
def test_arguments_however_deep_are_answered(task, jail, dialect, depth):
    env = SynToolEnv(tasks=TaskSet([task]), sandbox=jail, dialect=dialect)
    env.reset(seed=0)
    text = '<tool_call>{"name": "nothing", "arguments": {"x": ' + "[" * depth + "]" * depth + "}}</tool_call>"
    (call,) = env.step(text)[4]["tool_calls"]
    env.close()
    assert call["status"] == ("unknown_tool" if depth < 64 else "parse_error")


def test_a_refused_reset_leaves_no_episode(task):
    env = SynToolEnv(tasks=TaskSet([task]))
    env.dialect = RefusingDialect()
    with pytest.raises(TaskError, match="not with this dialect"):
        env.reset(seed=0)
    with pytest.raises(gym.error.ResetNeeded):
        env.step("\\boxed{1}")


class RefusingDialect(Hermes):
    def template_tools(self, task):
        raise TaskError("not with this dialect")


def test_an_index_that_is_no_number_is_one_line(task):
    with pytest.raises(RecallError, match="index: expected an integer, got '0'"):
        SynToolEnv(tasks=TaskSet([task])).reset(options={"index": "0"})
