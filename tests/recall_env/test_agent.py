"""Agents, the one behind a chat endpoint on a real HTTP server of the loopback."""

import pytest
from chat_endpoint import Endpoint, said

import recall_env.endpoint
from recall_env.agent import AgentFailure, ChatAgent, GoldAgent, RandomAgent, TurnRefused
from recall_env.dialect import DIALECTS
from recall_env.env import SynToolEnv
from recall_env.errors import RecallError
from recall_env.play import play
from recall_env.taskset import TaskSet

TOOLS = [{"type": "function", "function": {"name": "total"}}]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    waited = []
    monkeypatch.setattr(recall_env.endpoint.time, "sleep", waited.append)
    return waited


QUESTION = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]


def test_it_sends_the_conversation_and_the_tools_and_returns_the_text():
    with Endpoint(said("hello")) as endpoint:
        agent = ChatAgent(endpoint.url + "/", "m", api_key="k", temperature=0.5, max_tokens=7)
        assert agent.act(QUESTION, TOOLS) == "hello"
    path, headers, body = endpoint.requests[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer k"
    assert body["messages"] == QUESTION and body["tools"] == TOOLS
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0.5, 7)


def test_tool_results_go_back_as_one_user_message_that_any_server_takes():
    turns = [{"role": "assistant", "content": "a"}, *({"role": "tool", "content": str(i)} for i in range(2))]
    with Endpoint(said("x")) as endpoint:
        ChatAgent(endpoint.url, "m").act([*QUESTION, *turns, {"role": "assistant", "content": "b"}], None)
    body = endpoint.requests[0][2]
    assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "user", "assistant"]
    assert body["messages"][3]["content"] == (
        "<tool_response>\n0\n</tool_response>\n<tool_response>\n1\n</tool_response>"
    )
    assert "tools" not in body and turns[1] == {"role": "tool", "content": "0"}


def test_calls_the_server_has_parsed_are_text_again():
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"item": "lamp"}'}}
    with Endpoint(said(None, tool_calls=[call])) as endpoint:
        text = ChatAgent(endpoint.url, "m").act(QUESTION, TOOLS)
    (found,) = DIALECTS["hermes"].parse(text).calls
    assert (found.name, found.arguments, found.error) == ("add", {"item": "lamp"}, None)


def test_a_server_without_a_tool_parser_is_asked_for_text_from_then_on():
    refusal = (400, {"error": {"message": '"auto" tool choice requires --enable-auto-tool-choice'}})
    with Endpoint(refusal, said("a"), said("b")) as endpoint:
        agent = ChatAgent(endpoint.url, "m")
        assert [agent.act(QUESTION, TOOLS), agent.act(QUESTION, TOOLS)] == ["a", "b"]
    assert [body["tool_choice"] for _, _, body in endpoint.requests] == ["auto", "none", "none"]


def test_a_busy_or_broken_server_is_tried_again_with_growing_waits(no_waiting):
    with Endpoint((503, b"loading"), (429, b""), said("now")) as endpoint:
        assert ChatAgent(endpoint.url, "m").act(QUESTION, None) == "now"
    assert no_waiting == [1.0, 2.0]


def test_a_server_that_keeps_failing_is_nobodys_move():
    with Endpoint(*[(500, b"out of memory\nand more")] * 3) as endpoint:
        with pytest.raises(AgentFailure, match=r"HTTP 500: out of memory and more \(tried 3 times\)"):
            ChatAgent(endpoint.url, "m", retries=2).act(QUESTION, None)


@pytest.mark.parametrize("body", [b"<html>", {"choices": []}, {"choices": [3]}, [1]])
def test_a_reply_that_is_no_completion_is_nobodys_move(body):
    with Endpoint((200, body)) as endpoint, pytest.raises(AgentFailure, match="no chat completion"):
        ChatAgent(endpoint.url, "m").act(QUESTION, None)


def test_a_refused_request_is_the_persons_fault_and_is_not_repeated():
    with Endpoint((401, b"bad key")) as endpoint, pytest.raises(RecallError, match="HTTP 401: bad key") as caught:
        ChatAgent(endpoint.url, "m").act(QUESTION, TOOLS)
    assert not isinstance(caught.value, AgentFailure)


def test_a_refusal_after_an_answer_is_that_episodes_own():
    long = (400, {"error": {"message": "maximum context length, tool results included"}})
    with Endpoint(said("a"), long, long, said("b")) as endpoint:
        agent = ChatAgent(endpoint.url, "m")
        assert agent.act(QUESTION, TOOLS) == "a"
        with pytest.raises(TurnRefused, match=r"HTTP 400: .*maximum context length"):
            agent.act(QUESTION, TOOLS)
        assert agent.act(QUESTION, TOOLS) == "b"
    assert [body["tool_choice"] for _, _, body in endpoint.requests] == ["auto", "auto", "none", "auto"]


def test_no_server_and_no_url_are_one_clear_line():
    with Endpoint() as endpoint:
        url = endpoint.url
    with pytest.raises(AgentFailure, match=r"is the server running\? \(tried 2 times\)"):
        ChatAgent(url, "m", retries=1).act(QUESTION, None)
    with pytest.raises(RecallError, match="not a URL; write it like http://localhost:8000/v1"):
        ChatAgent("localhost", "m").act(QUESTION, None)
    with pytest.raises(RecallError, match="not an HTTP URL"):
        ChatAgent("ftp://localhost", "m").act(QUESTION, None)


def test_a_model_the_server_does_not_have_names_the_nearest():
    models = (200, {"data": [{"id": "qwen-7b"}, {"id": "other"}]})
    with Endpoint(models, models, (404, b"")) as endpoint:
        ChatAgent(endpoint.url, "qwen-7b").check()
        with pytest.raises(RecallError, match=r"does not serve 'qwen-7'; did you mean 'qwen-7b'\?"):
            ChatAgent(endpoint.url, "qwen-7").check()
        ChatAgent(endpoint.url, "anything").check()  # a server without a list is taken at its word


@pytest.mark.parametrize("dialect", ["hermes", "recall"])
def test_gold_earns_the_whole_reward(task, jail, dialect):
    env = SynToolEnv(tasks=TaskSet([task]), sandbox=jail, dialect=dialect, rubric="answer")
    if dialect == "recall":  # ReCall loads the source anew for each call, so a gold solution must not need state
        task = type(task)(
            **{**task.__dict__, "source": task.source.replace("def total():", "def total():\n    return 25")}
        )
    messages, infos, reward = play(env, GoldAgent(task, dialect=env.dialect), task, seed=0)
    env.close()
    assert reward == 1.0 and infos[-1]["score"]["values"]["progress"] == 1.0
    assert infos[-1]["score"]["values"]["format"] == (1.0 if dialect == "recall" else 0.0)
    assert messages[-1]["role"] == "assistant"


def test_gold_needs_a_solution(make_task):
    with pytest.raises(RecallError, match="task shop-0 has no gold solution to play"):
        GoldAgent(make_task(solution=None))


def test_a_random_agent_is_its_seed_and_its_calls_fit_their_schemas(tasks, jail):
    env = SynToolEnv(tasks=tasks, sandbox=jail)
    quick = [schema for schema in tasks[0].schemas if schema["function"]["name"] != "wait_forever"]
    task = type(tasks[0])(**{**tasks[0].__dict__, "schemas": tuple(quick)})
    played = [play(env, RandomAgent(task, seed), task, seed=0) for seed in (1, 2, 3, 4, 1)]
    env.close()
    calls = [call for _, infos, _ in played for info in infos for call in info["tool_calls"]]
    assert calls and not {call["status"] for call in calls} & {"parse_error", "unknown_tool", "invalid_arguments"}
    assert played[0] == played[4] and played[0] != played[1]
