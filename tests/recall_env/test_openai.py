"""The openai dialect: assistant messages with tool_calls in, tool messages with their ids out."""

import json

import pytest
from chat_endpoint import Endpoint

from recall_env.agent import ChatAgent, GoldAgent, RandomAgent
from recall_env.dialect import DIALECTS
from recall_env.env import SynToolEnv
from recall_env.errors import RecallError
from recall_env.play import play
from recall_env.taskset import TaskSet
from recall_env.tool_call import ToolCall, ToolResult

OPENAI = DIALECTS["openai"]


def entry(name="total", arguments="{}", id="call_a", **fields):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **fields}


def message(*calls, content=None):
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def read(*calls, content=None):
    return OPENAI.parse(json.dumps(message(*calls, content=content)))


@pytest.fixture
def env(tasks, jail):
    env = SynToolEnv(tasks=tasks, sandbox=jail, dialect="openai", render_mode="ansi")
    yield env
    env.close()


def test_an_episode_of_messages_ends_in_a_reward(env):
    observation, info = env.reset(seed=0)
    assert json.loads(observation) == info["messages"] and [m["role"] for m in info["messages"]] == ["system", "user"]
    assert {tool["type"] for tool in info["tools"]} == {"function"}
    two = message(entry("add", '{"item": "lamp", "count": 2}', "a"), entry("total", "", "b"), content="Let me see.")
    observation, reward, terminated, truncated, info = env.step(two)
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert (
        info["messages"]
        == json.loads(observation)
        == [
            {"role": "tool", "tool_call_id": "a", "content": '{"basket":["lamp","lamp"]}'},
            {"role": "tool", "tool_call_id": "b", "content": "25.0"},
        ]
    )
    assert [(one["call_id"], one["status"]) for one in info["tool_calls"]] == [("a", "ok"), ("b", "ok")]
    assert '[assistant]\nLet me see.\nadd {"item": "lamp", "count": 2}\ntotal {}\n' in env.render()
    observation, reward, terminated, _, info = env.step({"content": "It is \\boxed{25}"})
    assert (observation, reward, terminated, info["answer"]) == ("", 1.0, True, "25")


def test_a_message_its_json_and_plain_text_are_the_same_turn(env):
    outcomes = []
    for action in ({"role": "assistant", "content": "\\boxed{25}"}, '{"role":"assistant","content":"\\\\boxed{25}"}'):
        env.reset(seed=0)
        outcomes.append(env.step(action))
    env.reset(seed=0)
    assert outcomes[0] == outcomes[1] == env.step("\\boxed{25}") and outcomes[0][1] == 1.0


def test_other_dialects_take_no_messages(tasks):
    env = SynToolEnv(tasks=tasks)
    env.reset(seed=0)
    with pytest.raises(RecallError, match="expected the assistant's text, got dict"):
        env.step(message(entry()))


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ({"role": "user", "content": "x"}, "expected an assistant message, got one of role 'user'"),
        ({"content": object()}, "the message is not plain JSON data"),
        (3, "expected the assistant's text, got int"),
    ],
)
def test_an_action_that_is_no_message_is_the_callers_mistake(env, action, words):
    env.reset(seed=0)
    with pytest.raises(RecallError, match=words):
        env.step(action)
    assert env.step("\\boxed{25}")[1] == 1.0  # nothing was played


@pytest.mark.parametrize("arguments", ["{}", "", None, {}, " {} "])
def test_arguments_may_be_text_or_an_object_or_nothing(arguments):
    (found,) = read(entry(arguments=arguments)).calls
    assert (found.name, found.arguments, found.call_id, found.error) == ("total", {}, "call_a", None)


@pytest.mark.parametrize(
    ("broken", "id", "reason"),
    [
        (entry(arguments='{"x": }'), "call_a", '"arguments" is no JSON object: Expecting value at character 6'),
        (entry(arguments="[1]"), "call_a", '"arguments" is no JSON object: expected an object, got list'),
        (entry(arguments=[1]), "call_a", '"arguments" is no JSON object: expected an object, got list'),
        (entry(arguments='{"x": NaN}'), "call_a", '"arguments" is no JSON object: NaN is not JSON'),
        (entry(arguments="{} {}"), "call_a", '"arguments" is no JSON object: there is text after it'),
        (entry(arguments='{"x": "\\ud800"}'), "call_a", '"arguments" is no JSON object: a lone surrogate is not text'),
        (entry(arguments="[" * 100_000), "call_a", '"arguments" is no JSON object: nested too deeply'),
        (entry(name=""), "call_a", '"name" is missing or is not text'),
        (entry(name=7), "call_a", '"name" is missing or is not text'),
        (entry(type="custom"), "call_a", "expected an object of type function, with a function"),
        ({"id": "call_a"}, "call_a", "expected an object of type function, with a function"),
        ("total", "call_0", "expected an object of type function, with a function"),
        (entry(id=""), "call_0", '"id" is missing or is no short text'),
        (entry(id=None), "call_0", '"id" is missing or is no short text'),
        (entry(id="x" * 257), "call_0", '"id" is missing or is no short text'),
    ],
)
def test_what_is_not_a_call_is_answered_under_its_id(env, broken, id, reason):
    env.reset(seed=0)
    *_, info = env.step(message(broken, entry("total", "{}", "good")))
    assert [one["status"] for one in info["tool_calls"]] == ["parse_error", "ok"]
    assert [m["tool_call_id"] for m in info["messages"]] == [id, "good"] and info["failure"] == "agent"
    assert info["tool_calls"][0]["error"]["message"].startswith(f"not a tool call: {reason}")


def test_two_calls_of_one_id_cannot_be_told_apart():
    first, second = read(entry(), entry("draw")).calls
    assert first.error is None and "another call of this turn has the same id" in second.error


@pytest.mark.parametrize("calls", [{"id": "a"}, "total", 3, {"function": 1}])
def test_tool_calls_that_are_no_list_are_one_broken_call(calls):
    (found,) = OPENAI.parse(json.dumps({"role": "assistant", "tool_calls": calls})).calls
    assert found.error is not None


@pytest.mark.parametrize("calls", [None, []])
def test_no_calls_are_the_end(calls):
    turn = OPENAI.parse(json.dumps({"role": "assistant", "content": "<think>\\boxed{1}</think>2", "tool_calls": calls}))
    assert (turn.calls, turn.answer, turn.text) == ((), None, "2")


def test_content_may_be_parts():
    parts = [{"type": "text", "text": "so"}, {"type": "image_url"}, {"type": "text", "text": "\\boxed{3}"}]
    turn = OPENAI.parse(json.dumps({"role": "assistant", "content": parts}))
    assert (turn.text, turn.answer) == ("so\n\\boxed{3}", "3")


@pytest.mark.parametrize("text", ['{"role": "user", "content": "\\\\boxed{1}"}', "[]", "7", "{", "[" * 100_000, ""])
def test_other_text_is_content(text):
    assert OPENAI.parse(text).text == text and OPENAI.parse(text).calls == ()


def test_tags_in_content_are_no_calls():
    assert OPENAI.parse(DIALECTS["hermes"].write_call(ToolCall("total", {}))).calls == ()


def test_very_many_calls_are_cut_and_all_are_answered():
    turn = read(*(entry(id=f"c{number}") for number in range(5_000)))
    assert len(turn.calls) == 257 and turn.calls[-1].error.startswith("one turn may hold 256 calls")
    messages = OPENAI.render([(call, ToolResult("ok")) for call in turn.calls])
    said = OPENAI.assistant(json.dumps(message(*(entry(id=f"c{number}") for number in range(5_000)))))
    assert [m["tool_call_id"] for m in messages] == [call["id"] for call in said["tool_calls"]]


def test_the_message_that_goes_on_is_sound_whatever_the_model_wrote():
    said = OPENAI.assistant(json.dumps(message(entry(arguments='{"x":  1}'), entry(arguments="{oops", id="b"), 3)))
    assert said["content"] == ""
    assert [(c["id"], c["function"]["arguments"]) for c in said["tool_calls"]] == [
        *(("call_a", '{"x":  1}'), ("b", "{}"), ("call_2", "{}"))
    ]
    assert all(c["type"] == "function" and c["function"]["name"] for c in said["tool_calls"])


def test_escaped_surrogates_reach_nobody(env):
    env.reset(seed=0)
    observation, *_ = env.step(
        '{"role": "assistant", "tool_calls": [{"id": "\\ud800", "function": {"name": "\\udc00"}}]}'
    )
    observation.encode()
    assert env.step('{"role": "assistant", "content": "\\\\boxed{\\ud800}"}')[4]["answer"] == "\ufffd"


@pytest.mark.parametrize("extractor", [None, "text"])
def test_gold_earns_the_whole_reward_and_guessing_breaks_nothing(env, make_task, extractor):
    task = make_task(extractor=extractor)
    messages, infos, reward = play(env, GoldAgent(task, dialect=OPENAI), task, seed=0)
    assert reward == 1.0 and infos[0]["tool_calls"][0]["status"] == "ok"
    assert messages[2]["tool_calls"][0]["id"] == messages[3]["tool_call_id"]
    quick = make_task(schemas=make_task().schemas[:5])
    _, infos, _ = play(env, RandomAgent(quick, 3, OPENAI), quick, seed=0)
    assert not {one["status"] for info in infos for one in info["tool_calls"]} & {"parse_error", "unknown_tool"}


def said(content=None, *calls):
    return 200, {"choices": [{"message": {"role": "assistant", "content": content, "tool_calls": list(calls) or None}}]}


def test_an_endpoints_own_calls_are_played_and_go_back_as_messages(env, task):
    calls = (entry("add", '{"item": "lamp", "count": 2}', "x1"), entry("total", "{", None))
    with Endpoint(said("Looking.", *calls), said(None, entry(id="x2")), said("\\boxed{25}")) as server:
        agent = ChatAgent(server.url, "m", native_calls=True)
        _, infos, reward = play(env, agent, task, seed=0)
    assert reward == 1.0 and [one["call_id"] for one in infos[0]["tool_calls"]] == ["x1", "call_2_1"]
    bodies = [body for _, _, body in server.requests]
    assert len(bodies[0]["tools"]) == 6 and bodies[0]["tool_choice"] == "auto"
    roles = ["system", "user", "assistant", "tool", "tool"]
    assert [m["role"] for m in bodies[1]["messages"]] == roles
    assistant, first, second = bodies[1]["messages"][2:]
    assert [call["id"] for call in assistant["tool_calls"]] == [first["tool_call_id"], second["tool_call_id"]]
    assert assistant["tool_calls"][1]["function"] == {"name": "total", "arguments": "{}"}  # what was broken is not sent
    assert "Expecting" in second["content"]
    assert [m["role"] for m in bodies[2]["messages"]] == [*roles, "assistant", "tool"]


def test_a_server_without_a_tool_parser_is_refused_with_what_to_do():
    refusal = (400, {"error": {"message": '"auto" tool choice requires --enable-auto-tool-choice'}})
    with Endpoint(refusal) as server, pytest.raises(RecallError, match="is played in the hermes dialect"):
        ChatAgent(server.url, "m", native_calls=True).act([{"role": "user", "content": "q"}], [entry()])


def test_recall_env_eval_plays_it(tasks_file, shared_jail, monkeypatch, capsys):
    from recall_env import __main__ as cli

    models = (200, {"data": [{"id": "m"}]})
    with Endpoint(models, said(None, entry("total", "{}", "a")), said("\\boxed{25}")) as server:
        words = f"eval ReCall/SynTool-v0 --dataset {tasks_file} -n 1 --base-url {server.url} --model m --dialect openai"
        monkeypatch.setattr("sys.argv", ["recall-env", *words.split(), "--json"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    result = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0 and result["overall"]["successes"] == 1 and result["settings"]["dialect"] == "openai"
    assert server.requests[2][2]["messages"][-1]["tool_call_id"] == "a"
    assert len(TaskSet.load(tasks_file)) == 6
