"""Calls and results that are meant to be read as something else: as Python by the host, as a turn by the model."""

import json

import outer
import pytest
from injections import PAYLOADS, TEXTS, TOOLS, aimed

from recall_env.calls import Telemetry, ToolRunner
from recall_env.dialect.hermes import Hermes
from recall_env.dialect.recall import Recall
from recall_env.dialect.submit import Submit
from recall_env.in_pieces import finish
from recall_env.sandbox import JailPool
from recall_env.tool_call import ToolCall

SAY = """
def give(text): return text
def give_a_key(text): return {text: 1}
def say(text): print(text)
def fail(text): raise ValueError(text)
def fail_by_name(text): raise type(text.replace(chr(0), "0").replace("\\ud800", "?"), (Exception,), {})("x")
"""


@pytest.fixture(scope="module")
def pool():
    made = JailPool(1)
    made.open("def f(): return 1").close()
    yield made
    made.close()


@pytest.fixture(scope="module")
def session(pool):
    opened = pool.open(TOOLS)
    yield opened
    opened.close()


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_name_or_a_key_is_never_run(host, session, payload):
    name, arguments = aimed(PAYLOADS[payload], host.target["prey"])
    result = session.call(name, arguments)
    assert result.status == ("ok" if name == "note" else "unknown_tool"), result
    assert not result.value and host.untouched
    assert session.call("note", {}).status == "ok"


@pytest.mark.parametrize("dialect", [Hermes(), Recall(), Submit()], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_a_model_writes_stays_data(host, pool, make_task, payload, dialect):
    name, arguments = aimed(PAYLOADS[payload], host.target["prey"])
    twice = '"name": "note", ' + json.dumps({"name": name, "arguments": arguments})[1:]  # the last one counts
    call = dialect.parse(f"<tool_call>{{{twice}</tool_call>").calls[0]
    assert call.error is None and (call.name, call.arguments) == (name, arguments)
    schema = {"type": "function", "function": {"name": "note", "parameters": {"type": "object"}}}
    runner = ToolRunner(
        make_task(source=TOOLS, schemas=(schema,)),
        lambda: pool,
        seed=0,
        mode=dialect.mode,
        checks_arguments=dialect.checks_arguments,
        telemetry=Telemetry(),
    )
    _, result = finish(runner.run(call))
    runner.close()
    assert result.status in (("ok", "invalid_arguments") if name == "note" else ("unknown_tool",)), result
    assert not result.value and host.untouched


def test_on_a_server_that_runs_text_every_payload_works():
    prey = str(outer.HOST / "prey")
    attacks = [
        {"source": TOOLS, "calls": [aimed(payload, prey)], "takes_target": False} for payload in PAYLOADS.values()
    ]
    outcomes = dict(zip(PAYLOADS, outer.attempt("naive", *attacks), strict=True))
    assert [name for name, outcome in outcomes.items() if not {"value", "files"} & set(outcome.signs)] == []


@pytest.fixture(scope="module")
def sayer(pool):
    opened = pool.open(SAY)
    yield opened
    opened.close()


@pytest.mark.parametrize("way", ["give", "give_a_key", "say", "fail", "fail_by_name"])
@pytest.mark.parametrize("text", TEXTS)
def test_no_text_of_a_tool_can_be_taken_for_the_conversations_own(sayer, text, way):
    result = sayer.call(way, {"text": TEXTS[text]})
    [message] = Hermes().render([(ToolCall(way, {}), result)])
    assert TEXTS[text] not in message["content"]
    message["content"].encode()
    if way == "give" and text != "half a letter":
        assert result.value == TEXTS[text]
        assert TEXTS[text] in f"<tool_response>\n{result.value}\n</tool_response>"  # what a plain rendering would hold
