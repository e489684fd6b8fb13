"""`recall-env serve` as its callers meet it: a real server in a process of its own, real jails, real sockets."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parent.parent.parent
TOOLS = """
import os, sys, time
kept = []
def echo(value=None, other=None): return value
def keep(item):
    kept.append(item)
    return kept
def who():
    sys.mark = getattr(sys, "mark", None) or os.urandom(8).hex()
    return sys.mark
def nap(s):
    time.sleep(s)
    kept.append(s)
    return s
def spin():
    while True: pass
def leave(): sys.exit(3)
def die(): os._exit(3)
def fail(): raise ValueError("no such thing")
def bare(): assert 1 == 2
def nan(): return float("nan")
def surrogate(): return "a" + chr(0xd800)
def shout(n=1):
    print("x" * n)
    return "y" * n
"""
TOKENS = ("first-token-0123456789", "second-token-0123456789")
SCHEMAS = [
    {
        "type": "function",
        "function": {
            "name": "echo",
            "parameters": {"type": "object", "properties": {"value": {"type": "integer"}}, "required": ["value"]},
        },
    }
]


class Served:
    """A server process, and requests to it."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "recall_env", "serve", "--port", "0", "--shards", "1", *options],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.first_line = self.process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+) \((.*); (.*)\)", self.first_line)
        assert found, self.first_line + self.process.stderr.read()
        self.port, self.url = int(found[1]), f"http://127.0.0.1:{found[1]}"

    def post(self, path: str, body=None, token: str | None = None, **options) -> requests.Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return requests.post(self.url + path, json=body, headers=headers, timeout=10, **options)

    def execute(self, call: str, env: str = TOOLS, timeout: float = 5, token: str | None = None) -> dict:
        answer = self.post("/execute", {"env": env, "call": call, "timeout": timeout}, token)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def open(self, token: str | None = None, source: str = TOOLS, **fields) -> str:
        answer = self.post("/sessions", {"source": source, **fields}, token)
        assert answer.status_code == 201, answer.text
        return f"/sessions/{answer.json()['session']}"

    def call(self, session: str, name: str, token: str | None = None, **arguments) -> dict:
        answer = self.post(f"{session}/call", {"name": name, "arguments": arguments}, token)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def delete(self, session: str, token: str | None = None) -> int:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return requests.delete(self.url + session, headers=headers, timeout=10).status_code

    def get(self, path: str, token: str | None = None) -> requests.Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return requests.get(self.url + path, headers=headers, timeout=10)

    def in_flight(self, calls: int) -> None:
        """Wait until so many are."""
        for _ in range(200):
            if self.get("/health").json()["in_flight"] == calls:
                return
            time.sleep(0.01)
        raise AssertionError(self.get("/health").text)

    def stop(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        with self.process.stderr as words:
            return code, words.read()


@pytest.fixture(autouse=True)
def _watch():
    """In conftest.py's place: the servers below are shared and keep interpreters. How they end has its own tests."""


@pytest.fixture(scope="module")
def open_server():
    """Whoever may call."""
    served = Served("--max-in-flight", "16", "--max-body", "100000", "--max-timeout", "8", "--read-timeout", "1")
    yield served
    assert served.stop() == (0, "recall-env: stopped\n")


@pytest.fixture(scope="module")
def closed_server(tmp_path_factory):
    """Two tokens, an interpreter for each call of /execute, few sessions and not for long."""
    file = tmp_path_factory.mktemp("tokens") / "tokens"
    file.write_text("# who may call\n" + "\n".join(TOKENS) + "\n")
    served = Served("--token-file", str(file), "--isolation", "call", "--max-sessions", "2", "--idle-timeout", "1")
    yield served
    assert served.stop() == (0, "recall-env: stopped\n")


def test_the_first_line_says_where_it_listens_what_jails_and_who_may_call(open_server, closed_server):
    assert re.fullmatch(
        r"recall-env: serving on http://127\.0\.0\.1:\d+ \(.*(root|namespace).*; no token wanted\)\n",
        open_server.first_line,
    )
    assert closed_server.first_line.endswith("; 2 tokens)\n")


def test_recalls_own_client_gets_what_it_got(open_server):
    """As in ReCall's rollout: eight threads, requests.post with a timeout of 10 s, `name(k=repr(v), ...)`."""

    def client(n: int) -> str:
        arguments = {"value": {"n": n, "text": 'it\'s "quoted"\n', "none": None, "yes": True}}
        call = f"echo({', '.join(f'{k}={v!r}' for k, v in arguments.items())})"
        body = {"env": TOOLS, "call": call, "timeout": 5}
        response = requests.post(f"{open_server.url}/execute", json=body, timeout=10)
        assert response.status_code == 200
        answer = response.json()
        assert list(answer) == ["output", "result", "error"]
        shown = f"result: \n{answer['result']}\n" if answer["result"] else ""
        shown += f"output: \n{answer['output']}\n" if answer["output"] else ""
        return shown + (f"error: \n{answer['error']}\n" if answer["error"] else "")

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(client, range(40)))
    assert answers[7] == "result: \n{'n': 7, 'text': 'it\\'s \"quoted\"\\n', 'none': None, 'yes': True}\n"
    assert len(set(answers)) == 40


@pytest.mark.parametrize("value", [0, False, "", [], None, {}, 0.0, 10**20, "ü€😀"])
def test_results_come_back_as_they_are_falsy_ones_too(open_server, value):
    assert open_server.execute(f"echo(value={value!r})") == {"output": "", "result": value, "error": None}


def test_the_source_runs_anew_for_each_call_in_an_interpreter_that_stays(open_server):
    assert [open_server.execute("keep(item='a')")["result"] for _ in range(3)] == [["a"]] * 3
    assert len({open_server.execute("who()")["result"] for _ in range(3)}) == 1
    assert open_server.execute("who()", token="a")["result"] != open_server.execute("who()", token="b")["result"]


def test_what_tools_raise_is_the_error_and_what_they_print_the_output(open_server):
    assert open_server.execute("fail()") == {"output": "", "result": None, "error": "no such thing"}
    assert open_server.execute("bare()")["error"] == "assertion failed: def bare(): assert 1 == 2"
    assert open_server.execute("shout(n=3)") == {"output": "xxx\n", "result": "yyy", "error": None}
    assert open_server.execute("nothing()")["error"] == "name 'nothing' is not defined"
    assert "unexpected keyword argument" in open_server.execute("fail(a=1)")["error"]
    assert "SyntaxError" in open_server.execute("f()", env="def f(: pass")["error"]


@pytest.mark.parametrize(
    "call",
    [
        "__import__('os').system('true')",
        "echo(value=__import__('os').getcwd())",
        "echo.__globals__",
        "(lambda: 1)()",
        "echo(value=[x for x in (1, 2)])",
        "echo(**{'value': 1})",
        "echo(*[1])",
        "echo(value=1, value=2)",
        "echo(value=1); fail()",
        "echo(value=1)\nfail()",
        "echo(value=f'{1}')",
        "echo(value=1) or 1",
        "echo",
        "",
        "1 +",
        "echo(value=nan)",
        "echo(value=1e999)",
        "echo(value=b'x')",
        "echo(value=" + "[" * 5000 + "]" * 5000 + ")",
        "echo(value=" + "-" * 20_000 + "1)",
        "echo(value='" + "x" * 70_000 + "')",
        "echo(value=" + "9" * 5000 + ")",
        "echo(value='\ud800')",
        "echo(value=1)\x00",
        "__init__()",
        "setup(state=1)",
        "sys.exit()",
    ],
    ids=lambda call: repr(call[:40]),
)
def test_what_is_no_plain_call_is_not_run(open_server, call):
    answer = open_server.execute(call)
    assert answer["result"] is None and answer["error"] and len(answer["error"]) < 300


def test_positional_literals_get_their_names_from_the_source(open_server):
    assert open_server.execute("echo(3, other=4)")["result"] == 3
    assert "multiple values" in open_server.execute("echo(3, value=4)")["error"]
    assert "by keyword" in open_server.execute("echo(1, 2, 3)")["error"]
    assert "by keyword" in open_server.execute("f(1)", env="def f(*a): return a")["error"]


def test_a_timeout_is_honoured_and_the_server_lives_on(open_server):
    began = time.monotonic()
    assert open_server.execute("spin()", timeout=0.5)["error"] == "execution timed out after 0.5 s"
    assert "timed out" in open_server.execute("f()", env="while True: pass", timeout=0.5)["error"].replace(
        "took longer than", "timed out"
    )
    assert time.monotonic() - began < 3
    assert open_server.execute("echo(value=1)")["result"] == 1


def test_hangs_of_some_do_not_hold_up_others(open_server):
    with ThreadPoolExecutor(4) as threads:
        hanging = [threads.submit(open_server.execute, "nap(s=9)", timeout=1) for _ in range(4)]
        open_server.in_flight(4)
        began = time.monotonic()
        assert open_server.execute("echo(value=1)")["result"] == 1
        assert time.monotonic() - began < 0.8
        assert all("timed out" in one.result()["error"] for one in hanging)


def test_whatever_a_tool_does_the_answer_is_json_and_the_server_lives_on(open_server):
    assert "exit the interpreter" in open_server.execute("leave()")["error"]
    assert "exited (code 3)" in open_server.execute("die()")["error"]
    assert "nan" in open_server.execute("nan()")["error"]
    assert open_server.execute("surrogate()")["result"] == "a\ufffd"
    huge = open_server.execute("shout(n=1000000)")
    assert 1000 < len(huge["result"]) < 100_000 and len(huge["output"]) < 100_000 and "cut" in huge["error"]
    assert "does not load" in open_server.execute("f()", env="x = '\ud800'")["error"]
    assert open_server.execute("echo(value=1)")["result"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[" * 50_000, 400),
        (b"[]", 422),
        (b'{"call": "f()"}', 422),
        (b'{"env": 1, "call": "f()"}', 422),
        (b'{"env": "", "call": "f()", "timeout": "5"}', 422),
        (b'{"env": "", "call": "f()", "timeout": NaN}', 422),
        (b'{"env": "", "call": "f()", "timeout": -1}', 422),
        (b'{"env": "", "call": "f()", "timeout": null, "more": 1}', 200),
    ],
    ids=lambda part: repr(part)[:30],
)
def test_execute_refuses_what_is_no_request_in_its_own_form(open_server, body, status):
    answer = requests.post(f"{open_server.url}/execute", data=body, timeout=10)
    assert answer.status_code == status
    assert answer.json().keys() == {"output", "result", "error"} and answer.json()["error"]


def test_a_session_keeps_its_state_until_it_is_closed(open_server):
    session = open_server.open(seed=7)
    assert open_server.call(session, "keep", item=1)["value"] == [1]
    assert open_server.call(session, "keep", item=2) == {
        "status": "ok",
        "value": [1, 2],
        "stdout": "",
        "error_type": None,
        "error_message": None,
    }
    assert open_server.call(session, "fail")["error_type"] == "ValueError"
    assert open_server.delete(session) == 204 and open_server.delete(session) == 404
    assert open_server.post(f"{session}/call", {"name": "keep"}).status_code == 404


def test_a_session_takes_state_mode_limits_and_schemas(open_server):
    source = "def setup(state): global S; S = state\ndef get(): return S\ndef echo(value): return value"
    session = open_server.open(source=source, state={"a": [1]}, mode="fresh", limits={"output_bytes": 2048})
    assert open_server.call(session, "get")["value"] == {"a": [1]}
    assert open_server.call(session, "echo", value="x" * 3000)["status"] == "output_truncated"
    assert open_server.delete(session) == 204
    session = open_server.open(source=source, schemas=SCHEMAS)
    assert open_server.call(session, "echo", value=1)["value"] == 1
    refused = open_server.call(session, "echo", value="1")
    assert refused["status"] == "invalid_arguments" and "expected integer" in refused["error_message"]
    assert open_server.call(session, "get")["status"] == "unknown_tool"
    assert open_server.delete(session) == 204


def test_after_a_timeout_a_session_says_so_and_is_closed_as_any_other(open_server):
    session = open_server.open()
    answer = open_server.post(f"{session}/call", {"name": "spin", "timeout": 0.3}).json()
    assert answer["status"] == "timeout" and "0.3 s" in answer["error_message"]
    assert "earlier call" in open_server.call(session, "keep", item=1)["error_message"]
    assert open_server.delete(session) == 204


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({}, 422, "source: expected text, got nothing"),
        ({"source": "", "sauce": 1}, 422, "sauce: no such field; did you mean 'source'?"),
        ({"source": "import nothing_such"}, 422, "ModuleNotFoundError"),
        ({"source": "", "mode": "lazy"}, 422, "mode: expected stateful, fresh, process"),
        ({"source": "", "seed": 1.5}, 422, "seed"),
        ({"source": "", "limits": {"memory_bytes": 1 << 50}}, 422, "memory_bytes: the ceiling is"),
        ({"source": "", "limits": {"memry_bytes": 1}}, 422, "did you mean 'memory_bytes'?"),
        ({"source": "", "limits": {"cpu_s": "1"}}, 422, "cpu_s"),
        ({"source": "", "services": ["search"]}, 422, "no service 'search'"),
        ({"source": "", "schemas": [{"name": "f", "parameters": {"type": 3}}]}, 422, "not a JSON Schema"),
        ({"source": "", "schemas": {}}, 422, "schemas: expected a list"),
        ([], 422, "expected an object"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_an_open_that_is_wrong_is_refused_in_one_line(open_server, fields, status, words):
    answer = open_server.post("/sessions", fields)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert words in error["message"] and "\n" not in error["message"] and error["type"]


def test_paths_methods_and_pages_that_are_not_served(open_server):
    assert open_server.get("/nothing").status_code == 404
    assert open_server.get("/execute").status_code == 405 and open_server.get("/execute").headers["allow"] == "POST"
    assert open_server.post("/health").status_code == 405
    assert open_server.post("/sessions/x/call", {"name": "f"}).json()["error"]["type"] == "no_session"
    answer = requests.post(f"{open_server.url}/execute", json={}, headers={"origin": "https://a.example"}, timeout=10)
    assert answer.status_code == 403


def test_a_body_that_is_too_large_is_refused_before_it_is_read(open_server):
    with socket.create_connection(("127.0.0.1", open_server.port), timeout=10) as sock:
        sock.sendall(b"POST /execute HTTP/1.1\r\nhost: x\r\ncontent-length: 100001\r\n\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 413")

    def pieces():
        for _ in range(200):
            yield b"x" * 1000

    answer = requests.post(f"{open_server.url}/sessions", data=pieces(), timeout=10)
    assert answer.status_code == 413 and answer.json()["error"]["type"] == "too_large"


def test_one_call_too_many_is_refused_at_once_and_told_when_to_try_again(open_server):
    with ThreadPoolExecutor(16) as threads:
        napping = [threads.submit(open_server.execute, "nap(s=1.5)") for _ in range(16)]
        open_server.in_flight(16)
        began = time.monotonic()
        answer = open_server.post("/execute", {"env": TOOLS, "call": "echo()"})
        assert time.monotonic() - began < 0.5
        assert answer.status_code == 429 and answer.headers["retry-after"] == "1" and "16" in answer.json()["error"]
        assert all(one.result()["result"] == 1.5 for one in napping)
    assert open_server.execute("echo(value=1)")["result"] == 1


def test_a_session_is_in_one_call_at_a_time(open_server):
    session = open_server.open()
    with ThreadPoolExecutor(1) as threads:
        napping = threads.submit(open_server.call, session, "nap", s=0.5)
        open_server.in_flight(1)
        answer = open_server.post(f"{session}/call", {"name": "echo"})
        assert answer.status_code == 409 and answer.json()["error"]["type"] == "busy"
        assert napping.result()["value"] == 0.5
    assert open_server.delete(session) == 204


def test_a_caller_who_leaves_in_mid_call_leaves_the_session_sound(open_server):
    session = open_server.open()
    body = json.dumps({"name": "nap", "arguments": {"s": 0.3}}).encode()
    with socket.create_connection(("127.0.0.1", open_server.port)) as sock:
        head = f"POST {session}/call HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        sock.sendall(head.encode() + body)
        open_server.in_flight(1)
    open_server.in_flight(0)
    assert open_server.call(session, "keep", item=1)["value"] == [0.3, 1]
    assert open_server.delete(session) == 204


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\r\n",
        b"POST /execute HTTP/1.1\r\nhost: x\r\ncontent-le",
        b"POST /execute HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
    ],
    ids=["nothing", "a line", "half a head", "half a body"],
)
def test_a_client_that_says_half_a_request_is_not_waited_for(open_server, said):
    with socket.create_connection(("127.0.0.1", open_server.port), timeout=6) as sock:
        sock.sendall(said)
        while sock.recv(4096):  # ends when the server hangs up
            pass
    open_server.in_flight(0)


def test_a_head_without_an_end_is_cut_off(open_server):
    with socket.create_connection(("127.0.0.1", open_server.port), timeout=6) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\n" + b"x-filler: y\r\n" * 8000)
        assert sock.recv(4096).startswith(b"HTTP/1.1 431")


def test_metrics_are_prometheus_text(open_server):
    open_server.execute("echo(value=1)")
    open_server.post("/nothing")
    answer = open_server.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["recall_call_seconds_count", ("route", "execute"), ("status", "ok")] >= 1
    assert samples["recall_http_requests_total", ("code", "200"), ("route", "execute")] >= 1
    assert samples["recall_refused_total", ("reason", "not_found")] >= 1
    assert samples["recall_in_flight",] == 0 and samples["recall_draining",] == 0
    assert samples["recall_warm_sessions",] >= 1 and samples["process_open_fds",] > 5


def test_without_one_of_its_tokens_nobody_is_served_but_health_is_told(closed_server):
    assert closed_server.get("/health").json()["status"] == "ok"
    body = {"env": TOOLS, "call": "echo(value=1)"}
    for token in (None, "wrong-token-0123456789", TOKENS[0] + "x", TOKENS[0][:-1]):
        answer = closed_server.post("/execute", body, token)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert closed_server.get("/metrics", token).status_code == 401
        assert closed_server.post("/sessions", {"source": ""}, token).status_code == 401
    assert closed_server.post("/execute", body, TOKENS[1]).json()["result"] == 1
    assert closed_server.get("/metrics", TOKENS[0]).status_code == 200


def test_a_session_of_another_token_is_not_there(closed_server):
    mine, theirs = TOKENS
    session = closed_server.open(mine)
    assert closed_server.post(f"{session}/call", {"name": "echo"}, theirs).status_code == 404
    assert closed_server.delete(session, theirs) == 404
    assert closed_server.call(session, "echo", mine, value=3)["value"] == 3
    assert closed_server.delete(session, mine) == 204


def test_sessions_are_bounded_and_idle_ones_expire(closed_server):
    token = TOKENS[0]
    first, second = closed_server.open(token), closed_server.open(token)
    answer = closed_server.post("/sessions", {"source": ""}, token)
    assert answer.status_code == 429 and answer.headers["retry-after"] and "2 sessions" in answer.text
    for _ in range(100):
        if closed_server.get("/health").json()["sessions"] == 0:
            break
        time.sleep(0.05)
    assert closed_server.post(f"{first}/call", {"name": "echo"}, token).status_code == 404
    assert closed_server.delete(second, token) == 404


def test_with_isolation_of_calls_no_interpreter_serves_twice(closed_server):
    token = TOKENS[0]
    env = "import json\ndef look():\n    seen = hasattr(json, 'mark')\n    json.mark = True\n    return seen"
    assert [closed_server.execute("look()", env, token=token)["result"] for _ in range(3)] == [False] * 3
    assert "timed out" in closed_server.execute("spin()", timeout=0.3, token=token)["error"]
    assert closed_server.execute("echo(value=1)", token=token)["result"] == 1


def test_a_warm_interpreter_is_what_source_isolation_shares(open_server):
    env = "import json\ndef look():\n    seen = hasattr(json, 'mark')\n    json.mark = True\n    return seen"
    assert [open_server.execute("look()", env)["result"] for _ in range(2)] == [False, True]
    assert open_server.execute("look()", env + " ")["result"] is False
    assert open_server.execute("look()", env, token="another")["result"] is False


def test_sigterm_lets_calls_finish_tells_whoever_asks_and_leaves_nothing(leaves_nothing_behind):
    served = Served()
    session = served.open()
    answers = []
    calling = threading.Thread(target=lambda: answers.append(served.call(session, "nap", s=1.5)))
    calling.start()
    served.in_flight(1)
    served.process.send_signal(signal.SIGTERM)
    for _ in range(100):
        health = served.get("/health")
        if health.status_code == 503:
            break
        time.sleep(0.01)
    assert health.json()["status"] == "draining" and health.headers["connection"] == "close"
    refused = served.post("/execute", {"env": TOOLS, "call": "echo()"})
    assert refused.status_code == 503 and refused.headers["retry-after"] and "about to stop" in refused.json()["error"]
    calling.join()
    assert answers[0]["value"] == 1.5
    with served.process.stderr as words:
        assert served.process.wait(5) == 0 and words.read() == "recall-env: stopped\n"
    assert not list(Path("/sys/fs/cgroup").glob(f"**/recall-{served.process.pid}-*"))


@pytest.mark.parametrize("options", [(), ("--isolation", "call")], ids=["source", "call"])
def test_calls_that_outstay_the_drain_are_ended(leaves_nothing_behind, options):
    served = Served("--drain-timeout", "0.3", *options)
    answers = []
    body = {"env": TOOLS, "call": "spin()", "timeout": 50}

    calling = threading.Thread(target=lambda: answers.append(served.post("/execute", body).status_code))
    calling.start()
    served.in_flight(1)
    began = time.monotonic()
    assert served.stop()[0] == 0
    assert time.monotonic() - began < 3
    calling.join()
    assert answers == [503]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 is not loopback: name a --token-file, or --no-auth"),
        (["--host", "0.0.0.0", "--no-auth", "--sandbox", "unsafe"], "on loopback only"),
        (["--token-file", "nothing-there"], "--token-file nothing-there: No such file"),
        (["--isolation", "none"], "--isolation: expected source or call, got 'none'"),
        (["--service", "search"], "expected NAME=URL"),
        (["--service", "search=ftp://x"], "expected an address such as"),
        (["--host", "256.0.0.1", "--no-auth"], "cannot listen on 256.0.0.1"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_what_cannot_be_served_is_refused_in_one_line(options, words, monkeypatch, capsys):
    from recall_env import __main__ as cli

    monkeypatch.setattr(sys, "argv", ["recall-env", "serve", *options])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    said = capsys.readouterr().err
    assert exit.value.code == 2 and words in said and said.count("\n") == 1
