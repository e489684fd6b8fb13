"""Quirks 1 to 14, 28 and 30: what a call runs as, and how its result is shown."""

import threading
from dataclasses import replace

from quirks import TASK, call, quirk, tagged

from recall_env.errors import SandboxFailure


@quirk(1, "falsy results are dropped", recall="the same", default="every value is shown")
def _(play):
    assert play("recall", call("zero")).bodies == [""]
    assert play("hermes", call("zero") + call("echo", value=[])).bodies == ["0", "[]"]


@quirk(
    2,
    "the sandbox ignores its timeout; its clients give up after 10 s in training, 3 s in inference",
    recall="the client's text; the time is the task's or the env's",
    default="a status and the limit that was hit; the tool is ended",
)
def _(play):
    assert play("recall", call("wait")).bodies == play("recall-inference", call("wait")).bodies
    assert play("recall", call("wait")).bodies == ["error: execution timed out"]
    late = play("hermes", call("wait"))
    assert late.statuses == ["timeout"] and "0.5" in late.bodies[0]


@quirk(3, "one endless call stops the server for all", recall="not kept: jails are apart", default="episodes are apart")
def _(play):
    patient = replace(TASK, limits={"call_timeout_s": 2.0})
    endless = threading.Thread(target=play, args=("recall", call("wait")), kwargs={"task": patient})
    endless.start()
    assert play("recall", call("count")).bodies == ["result: \n1"] and endless.is_alive()
    endless.join()


@quirk(
    4,
    "tools run in the server's own process: patches persist, files and variables are open",
    recall="not kept: nobody wants it back",
    default="each episode has its own interpreter in a jail",
)
def _(play):
    for dialect, no in (("recall", ""), ("hermes", "false")):
        play(dialect, call("patch"))
        seen = play(dialect, call("patched") + call("files"))
        assert seen.bodies[0] == no
        there, variables = seen.info["tool_calls"][1]["value"]
        assert there is False and not {"HOME", "USER", "SSH_AUTH_SOCK"} & set(variables)


@quirk(
    5,
    "a call's name is run as Python, and so are its keys",
    recall="not kept: the name is looked up; the text is that of an unknown name",
    default="unknown_tool, with the nearest name",
)
def _(play):
    turn = call("__import__('os').getcwd") + call("ecko")
    assert play("recall", turn).bodies[1] == "error: \nname 'ecko' is not defined"
    assert "did you mean 'echo'" in play("hermes", turn).bodies[1]
    assert play("recall", turn).statuses == play("hermes", turn).statuses == ["unknown_tool"] * 2


@quirk(6, "the source is run anew for each call", recall="the same", default="state lives as long as the episode")
def _(play):
    turns = (call("count") + call("count"), call("count"))
    assert play("recall", *turns).bodies == ["result: \n1"] and play("hermes", *turns).bodies == ["3"]


@quirk(
    7,
    "calls of a turn start in any order, and come back in theirs",
    recall="they run in order, one at a time, which looks the same",
    default="the same",
)
def _(play):
    turn = "".join(call("echo", value=number) for number in range(1, 9))
    assert play("recall", turn).bodies == [f"result: \n{number}" for number in range(1, 9)]
    assert play("hermes", turn).bodies == [str(number) for number in range(1, 9)]


@quirk(
    8,
    "calls inside <think> run; one tag too many and none runs, which ends the episode",
    recall="the same",
    default="thinking is not read; a broken call says what is wrong with it",
)
def _(play):
    thought = f"<think>{call('count')}</think> \\boxed{{12.5}}"
    assert play("recall", thought.removeprefix("<think>")).statuses == ["ok"]
    assert play("hermes", thought).reward == 1.0
    broken = call("count") + "</tool_call><tool_call>"
    assert play("recall", broken).terminated
    assert play("hermes", broken).statuses == ["ok", "parse_error"]


@quirk(
    9,
    "a parse failure: its reason in training; in inference the reason is run as code, and is a syntax error",
    recall="both: recall and recall-inference",
    default="the reason, and how to write a call",
)
def _(play):
    assert play("recall", tagged("x")).bodies == ["Parse tool call failed: Expecting value: line 1 column 1 (char 0)"]
    assert play("recall-inference", tagged("x")).bodies == ["error: \ninvalid syntax (<call>, line 1)"]
    assert "not a tool call: Expecting value at character 0; write" in play("hermes", tagged("x")).bodies[0]


@quirk(
    10,
    "arguments as JSON text or a list do not parse; NaN is an undefined name; missing ones are none",
    recall="the same",
    default="JSON text is read; a list and NaN are parse errors in words; missing ones are none",
)
def _(play):
    turn = tagged('{"name": "echo", "arguments": "{\\"value\\": 1}"}') + tagged('{"name": "echo", "arguments": [1]}')
    turn += tagged('{"name": "echo", "arguments": {"value": NaN}}') + tagged('{"name": "count"}')
    text, listed, nan, missing = play("recall", turn).bodies
    assert text == "Parse tool call failed: 'str' object has no attribute 'items'"
    assert listed == "Parse tool call failed: 'list' object has no attribute 'items'"
    assert (nan, missing) == ("error: \nname 'nan' is not defined", "result: \n1")
    fixed = play("hermes", turn)
    assert fixed.statuses == ["ok", "parse_error", "parse_error", "ok"]
    assert "is not an object" in fixed.bodies[1] and "NaN is not JSON" in fixed.bodies[2]


@quirk(
    11,
    "results take whatever form the server's JSON library gives them, by its version; error: 500 where it has none",
    recall="tuples, sets, whole-number keys, dates and objects as there; bytes, NaN and the like are error: 500",
    default="one written rule, and an error that says what to return",
)
def _(play):
    turn = call("convert") + call("thing")
    assert play("recall", turn).bodies == ["result: \n[[1, 2], [3], {'1': 2}, '2020-01-02']", "error: 500"]
    converted, thing = play("hermes", turn).bodies
    assert converted == '[[1,2],[3],{"1":2},"2020-01-02"]' and "return text, numbers, lists" in thing


@quirk(12, "values are written by Python's str()", recall="the same", default="JSON")
def _(play):
    turn = call("echo", value={"a": [True, None, "x"]})
    assert play("recall", turn).bodies == ["result: \n{'a': [True, None, 'x']}"]
    assert play("hermes", turn).bodies == ['{"a":[true,null,"x"]}']


@quirk(
    13,
    "an error is str() of the exception: a KeyError is 'k', a bare assert is empty and dropped",
    recall="the same",
    default="type and message; a bare assert shows its condition",
)
def _(play):
    turn = call("fail") + call("bare")
    assert play("recall", turn).bodies == ["error: \n'k'", ""]
    named, condition = play("hermes", turn).bodies
    assert "KeyError: 'k'" in named and "AssertionError: assertion failed: assert COUNT > 5" in condition


@quirk(
    14,
    "sys.exit is error: 500; stderr is not seen; no main guard runs",
    recall="the same, but for coroutines, which are awaited",
    default="exiting is an error in words; stderr is not the model's; no main guard runs",
)
def _(play):
    turn = call("leave") + call("complain") + call("guard")
    assert play("recall", turn).bodies == ["error: 500", "output: \nprinted", ""]
    left, complained, guarded = play("hermes", turn).bodies
    assert "SystemExit: the tool tried to exit" in left and "seen" not in complained and guarded == "false"


@quirk(
    28,
    "an empty query to the search service is an error text about types",
    recall="the same: str() of what the tool raised",
    default="the same, with its type and as the tool's own fault",
)
def _(play):
    assert play("recall", call("search")).bodies == ["error: \nstring indices must be integers, not 'str'"]
    failed = play("hermes", call("search"))
    assert "TypeError: string indices" in failed.bodies[0] and failed.info["failure"] == "tool"


class Broken:
    """A pool whose jails do not start."""

    def open(self, source, **settings):
        raise SandboxFailure("the jail broke")


@quirk(
    30,
    "what went wrong in the sandbox is shown to the model and scored as its play",
    recall="not kept: it poisons training",
    default="tried once more, then the episode is void: no text, no reward, valid is False",
)
def _(play):
    for dialect in ("recall", "hermes"):
        void = play(dialect, call("count"), sandbox=Broken())
        assert (void.text, void.reward, void.truncated, void.info["valid"]) == ("", 0.0, True, False)
        assert void.info["failure"] == "infra" and void.statuses == ["sandbox_failure"]
