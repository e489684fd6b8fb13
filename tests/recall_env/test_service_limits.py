"""`recall-env serve` towards those who ask too much, too slowly or without leave; its metrics; its end."""

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families


@pytest.fixture(autouse=True)
def _watch():
    """In place of the one that watches every test: the servers are shared and keep interpreters warm. How they end has
    its own tests."""


def test_the_first_line_says_where_it_listens_what_jails_and_who_may_call(open_server, closed_server):
    assert re.fullmatch(
        r"recall-env: serving on http://127\.0\.0\.1:\d+ \(.*(root|namespace).*; no token wanted\)\n",
        open_server.first_line,
    )
    assert closed_server.first_line.endswith("; 2 tokens)\n")


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
        answer = open_server.post("/execute", {"env": open_server.TOOLS, "call": "echo()"})
        assert time.monotonic() - began < 0.5
        assert answer.status_code == 429 and answer.headers["retry-after"] == "1" and "16" in answer.json()["error"]
        assert all(one.result()["result"] == 1.5 for one in napping)
    assert open_server.execute("echo(value=1)")["result"] == 1


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


def test_without_one_of_its_tokens_nobody_is_served_but_health_is_told(closed_server, tokens):
    assert closed_server.get("/health").json()["status"] == "ok"
    body = {"env": closed_server.TOOLS, "call": "echo(value=1)"}
    for token in (None, "wrong-token-0123456789", tokens[0] + "x", tokens[0][:-1]):
        answer = closed_server.post("/execute", body, token)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert closed_server.get("/metrics", token).status_code == 401
        assert closed_server.post("/sessions", {"source": ""}, token).status_code == 401
    assert closed_server.post("/execute", body, tokens[1]).json()["result"] == 1
    assert closed_server.get("/metrics", tokens[0]).status_code == 200


def test_a_session_of_another_token_is_not_there(closed_server, tokens):
    mine, theirs, _ = tokens
    session = closed_server.open(mine)
    assert closed_server.post(f"{session}/call", {"name": "echo"}, theirs).status_code == 404
    assert closed_server.delete(session, theirs) == 404
    assert closed_server.call(session, "echo", mine, value=3)["value"] == 3
    assert closed_server.delete(session, mine) == 204


def test_sessions_are_bounded_and_idle_ones_expire(closed_server, tokens):
    token = tokens[0]
    first, second = closed_server.open(token), closed_server.open(token)
    answer = closed_server.post("/sessions", {"source": ""}, token)
    assert answer.status_code == 429 and answer.headers["retry-after"] and "2 sessions" in answer.text
    for _ in range(100):
        if closed_server.get("/health").json()["sessions"] == 0:
            break
        time.sleep(0.05)
    assert closed_server.post(f"{first}/call", {"name": "echo"}, token).status_code == 404
    assert closed_server.delete(second, token) == 404


def test_with_isolation_of_calls_no_interpreter_serves_twice(closed_server, tokens):
    token = tokens[0]
    env = "import json\ndef look():\n    seen = hasattr(json, 'mark')\n    json.mark = True\n    return seen"
    assert [closed_server.execute("look()", env, token=token)["result"] for _ in range(3)] == [False] * 3
    assert "timed out" in closed_server.execute("spin()", timeout=0.3, token=token)["error"]
    assert closed_server.execute("echo(value=1)", token=token)["result"] == 1


def test_a_killed_jail_costs_its_sessions_and_nobody_else(serve):
    served = serve()
    session = served.open()
    assert served.execute("echo(value=1)")["result"] == 1
    with ThreadPoolExecutor(2) as threads:
        repeated = threads.submit(served.execute, "nap(s=1)")  # in the warm interpreter, and then in a new one
        lost = threads.submit(served.post, f"{session}/call", {"name": "nap", "arguments": {"s": 1}})
        served.in_flight(2)
        children = Path(f"/proc/{served.process.pid}/task").glob("*/children")
        (jail,) = " ".join(file.read_text() for file in children).split()
        os.kill(int(jail), signal.SIGKILL)
        assert repeated.result()["result"] == 1
        assert lost.result().status_code == 503 and lost.result().headers["retry-after"]
        assert lost.result().json()["error"]["type"] == "sandbox_failure"
    assert served.execute("echo(value=2)")["result"] == 2
    assert served.call(served.open(), "echo", value=3)["value"] == 3
    assert served.stop()[0] == 0


def test_sigterm_lets_calls_finish_tells_whoever_asks_and_leaves_nothing(serve, leaves_nothing_behind):
    served = serve()
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
    refused = served.post("/execute", {"env": served.TOOLS, "call": "echo()"})
    assert refused.status_code == 503 and refused.headers["retry-after"] and "about to stop" in refused.json()["error"]
    calling.join()
    assert answers[0]["value"] == 1.5
    with served.process.stderr as words:
        assert served.process.wait(5) == 0 and words.read() == "recall-env: stopped\n"
    assert not list(Path("/sys/fs/cgroup").glob(f"**/recall-{served.process.pid}-*"))


def test_ctrl_c_lets_calls_finish_too_and_exits_130(serve, leaves_nothing_behind):
    served = serve()
    session, answers = served.open(), []
    calling = threading.Thread(target=lambda: answers.append(served.call(session, "nap", s=0.5)))
    calling.start()
    served.in_flight(1)
    served.process.send_signal(signal.SIGINT)
    calling.join()
    with served.process.stderr as words:
        assert served.process.wait(20) == 130 and words.read() == "recall-env: stopped\n"
    assert answers[0]["value"] == 0.5


@pytest.mark.parametrize("options", [(), ("--isolation", "call")], ids=["source", "call"])
def test_calls_that_outstay_the_drain_are_ended(serve, leaves_nothing_behind, options):
    served = serve("--drain-timeout", "0.3", *options)
    answers = []
    body = {"env": served.TOOLS, "call": "spin()", "timeout": 50}

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


def test_a_missing_extra_is_named(monkeypatch, capsys):
    from recall_env import __main__ as cli

    monkeypatch.setitem(sys.modules, "uvloop", None)
    monkeypatch.setattr(sys, "argv", ["recall-env", "serve"])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    assert exit.value.code == 2
    assert capsys.readouterr().err.endswith("needs uvloop, which is not installed: pip install -e '.[serve]'\n")
