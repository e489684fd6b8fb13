"""The submit dialect: hermes, where the answer is the call that ends the episode."""

import json

import pytest

from recall_env.agent import GoldAgent, RandomAgent
from recall_env.dialect import DIALECTS
from recall_env.env import SynToolEnv
from recall_env.errors import TaskError
from recall_env.play import play
from recall_env.taskset import TaskSet

SUBMIT = DIALECTS["submit"]


def call(name="submit_answer", **arguments) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("Paris", "Paris"),
        ("so \\boxed{42}", "42"),
        ("", ""),
        (12, "12"),
        (2.5, "2.5"),
        (True, "true"),
        (["a"], '["a"]'),
    ],
)
def test_the_answer_is_what_is_submitted(given, answer):
    turn = SUBMIT.parse(call(answer=given))
    assert (turn.calls, turn.answer, turn.text) == ((), answer, None)
    assert SUBMIT.parse(json.dumps({"name": "submit_answer", "arguments": {"answer": given}})).answer == answer


@pytest.mark.parametrize("arguments", [{}, {"value": 1}, {"answer": 1, "why": "it says so"}])
def test_a_malformed_submission_is_refused_and_the_episode_goes_on(arguments):
    (refused,) = SUBMIT.parse(call(**arguments)).calls
    assert refused.error == "submit_answer is the only call of its turn and takes one argument, answer"


def test_an_answer_beside_calls_is_refused_and_they_run():
    turn = SUBMIT.parse(call("look", item="lamp") + call(answer="guess"))
    assert turn.answer is None
    assert [(c.name, c.error is None) for c in turn.calls] == [("look", True), ("submit_answer", False)]


def test_a_broken_call_keeps_its_own_reason():
    (broken,) = SUBMIT.parse('<tool_call>{"name": "submit_answer", "arguments": {"answer": }}</tool_call>').calls
    assert broken.error.startswith("not a tool call: Expecting value")


def test_a_box_is_read_as_in_hermes():
    assert SUBMIT.parse("It is \\boxed{3}").answer == "3" and SUBMIT.parse("I give up").answer is None


def test_the_tools_end_with_submit_and_are_fresh_each_time(task):
    tools = SUBMIT.template_tools(task)
    assert [t["function"]["name"] for t in tools] == [*(s["function"]["name"] for s in task.schemas), "submit_answer"]
    tools[-1]["function"]["parameters"].clear()
    assert SUBMIT.template_tools(task)[-1]["function"]["parameters"]["required"] == ["answer"]


def test_a_task_with_such_a_tool_is_refused(make_task, task):
    schema = json.loads(json.dumps(task.schemas[0]))
    schema["function"]["name"] = "submit_answer"
    env = SynToolEnv(tasks=TaskSet([make_task(schemas=(schema,))]), dialect="submit")
    with pytest.raises(TaskError, match="has a tool named submit_answer itself; play it in the hermes dialect"):
        env.reset(seed=0)


@pytest.mark.parametrize("extractor", [None, "boxed", "text"])
def test_gold_earns_the_whole_reward(task, jail, extractor):
    task = type(task)(**{**task.__dict__, "extractor": extractor})
    env = SynToolEnv(tasks=TaskSet([task]), sandbox=jail, dialect="submit")
    messages, infos, reward = play(env, GoldAgent(task, dialect=env.dialect), task, seed=0)
    assert reward == 1.0 and infos[-1]["termination"] == "answer" and infos[-1]["tool_calls"] == []
    assert '"name": "submit_answer"' in messages[-1]["content"]
    _, infos, _ = play(env, RandomAgent(task, 1, env.dialect), task, seed=0)
    env.close()
    assert infos[-1]["termination"] in ("answer", "max_turns")
