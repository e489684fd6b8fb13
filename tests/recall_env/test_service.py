"""`recall-env serve` as its callers meet it: a real server in a process of its own, real jails, real sockets."""

import json
import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).parent.parent.parent
SCHEMAS = [
    {
        "type": "function",
        "function": {
            "name": "echo",
            "parameters": {"type": "object", "properties": {"value": {"type": "integer"}}, "required": ["value"]},
        },
    }
]


@pytest.fixture(autouse=True)
def _watch():
    """In place of the one that watches every test: the servers are shared and keep interpreters warm. How they end has
    its own tests."""


def test_recalls_own_client_gets_what_it_got(open_server):
    """As in ReCall's rollout: eight threads, requests.post with a timeout of 10 s, `name(k=repr(v), ...)`."""

    def client(n: int) -> str:
        arguments = {"value": {"n": n, "text": 'it\'s "quoted"\n', "none": None, "yes": True}}
        call = f"echo({', '.join(f'{k}={v!r}' for k, v in arguments.items())})"
        body = {"env": open_server.TOOLS, "call": call, "timeout": 5}
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


def test_a_session_is_in_one_call_at_a_time(open_server):
    session = open_server.open()
    with ThreadPoolExecutor(1) as threads:
        napping = threads.submit(open_server.call, session, "nap", s=0.5)
        open_server.in_flight(1)
        answer = open_server.post(f"{session}/call", {"name": "echo"})
        assert answer.status_code == 409 and answer.json()["error"]["type"] == "busy"
        assert napping.result()["value"] == 0.5
    assert open_server.delete(session) == 204


def test_a_warm_interpreter_is_what_source_isolation_shares(open_server):
    env = "import json\ndef look():\n    seen = hasattr(json, 'mark')\n    json.mark = True\n    return seen"
    assert [open_server.execute("look()", env)["result"] for _ in range(2)] == [False, True]
    assert open_server.execute("look()", env + " ")["result"] is False
    assert open_server.execute("look()", env, token="another")["result"] is False


def test_tools_reach_a_service_by_placeholder_name_and_address(serve, tmp_path):
    """ReCall's trainer puts the address of its search service into the source; there is no network in the jail."""
    with Search() as address:
        served = serve("--service", f"search={address}")
        source = "import requests\ndef find(q):\n    return requests.post('{}/find', json={{'q': q}}, timeout=3).json()"
        for url in ("<search-url-placeholder>", "http://search", address):
            answer = served.execute("find(q='a')", source.format(url))
            assert answer == {"output": "", "result": {"found": {"q": "a"}}, "error": None}
        assert (
            "cannot be reached" in served.execute("find(q='a')", source.format(address + "1") + f"# {address}")["error"]
        )
        session = served.open(source=source.format("<search-url-placeholder>"))
        assert served.call(session, "find", q="b")["value"] == {"found": {"q": "b"}}
    for _ in range(2):  # the service is down: no result, and no word of it to a model
        answer = served.post("/execute", {"env": source.format(address), "call": "find(q='a')"})
        assert answer.status_code == 503 and answer.headers["retry-after"] and answer.json()["result"] is None
    assert served.post(f"{session}/call", {"name": "find", "arguments": {"q": "b"}}).status_code == 503
    metrics = served.get("/metrics").text
    assert 'recall_service_requests_total{service="search"} 7.0' in metrics
    assert 'recall_service_failures_total{service="search"} 3.0' in metrics
    assert served.stop()[0] == 0


def test_the_shell_examples_of_the_docs_run_and_print_what_they_promise(open_server):
    blocks = re.findall(r"^```bash\n(.*?)^```$", (ROOT / "docs" / "serve.md").read_text(), re.DOTALL | re.MULTILINE)
    script = "".join(blocks)
    done = subprocess.run(
        [
            "bash",
            "-euo",
            "pipefail",
            "-c",
            'curl() { command curl -sS --fail "$@"; echo; }\n'
            + script.replace("http://127.0.0.1:8642", open_server.url),
        ],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr
    promises = re.findall(r"# -> (.*)$", script, re.MULTILINE)
    assert len(promises) == 2 and all(promise in done.stdout for promise in promises), done.stdout


class Search:
    """A search service."""

    def __enter__(self) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.dumps({"found": json.loads(self.rfile.read(int(self.headers["content-length"])))}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *exception):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
