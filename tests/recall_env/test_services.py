"""Tools that ask a search service, from a jail without a network: ReCall's MuSiQue rows, run as they are."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from recall_env.env import SynToolEnv
from recall_env.errors import RecallError, SandboxFailure, TaskError
from recall_env.sandbox import Limits
from recall_env.sandbox.broker import Broker, ServiceLimits, placeholders, read_addresses

MUSIQUE = """
import requests

def wikipedia_search(query: str, top_n: int = 5):
    url = "<search-url-placeholder>/search"
    if query == "":
        return "invalid query"
    response = requests.post(url, json={"query": query, "top_n": top_n})
    text = ""
    for line in response.json():
        text += f"{line['contents']}\\n\\n"
    return text.strip()
"""
SCHEMA = {
    "type": "function",
    "function": {
        "name": "wikipedia_search",
        "description": "Search Wikipedia.",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string"}, "top_n": {"type": "integer"}},
            "required": ["query"],
        },
    },
}
ROW = {
    "data_source": "musique_re_call",
    "question": "Who wrote it?",
    "ability": "re_call",
    "reward_model": {"style": "rule", "ground_truth": ["Ann"]},
    "extra_info": {"id": "musique-1", "env": MUSIQUE, "func_schemas": json.dumps([SCHEMA], indent=4)},
}
TOOLS = """
import requests, threading
def post(path, body=None, url="http://search"):
    response = requests.post(url + path, json=body, headers={"X-Secret": "1"}, timeout=3)
    return [response.status_code, response.text, response.ok]
def get(path, params=None):
    return requests.get("http://search" + path, params=params).json()
def many(count):
    with requests.Session() as session:
        return sum(session.post("http://search/search", json={"query": "x"}).ok for _ in range(count))
def careful(path):
    response = requests.get("http://search" + path)
    try:
        response.raise_for_status()
    except requests.exceptions.HTTPError as error:
        return str(error.response.status_code)
    return response.json()
def in_threads():
    found = []
    def ask(): found.append(requests.get("http://search/echo", params={"n": 1}).json()["path"])
    threads = [threading.Thread(target=ask) for _ in range(4)]
    [thread.start() for thread in threads]; [thread.join() for thread in threads]
    return found
def later():
    threading.Timer(0.05, lambda: requests.get("http://search/echo")).start()
"""


class Search(BaseHTTPRequestHandler):
    """A search service that notes what reached it."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"null")
        self.server.seen.append((self.path, body, dict(self.headers)))
        if self.path == "/search":
            self.answer(200, [{"contents": f"{body['query']} {n}"} for n in range(body.get("top_n", 5))])
        elif self.path == "/slow":
            time.sleep(body)
            self.answer(200, "late")
        elif self.path == "/long":
            self.answer(200, "x" * body)
        elif self.path == "/wide":
            self.answer(200, "\x00" * body, raw=True)
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/secret")
            self.end_headers()
        else:
            self.answer(int(self.path.strip("/")), {"detail": "as asked"})

    def do_GET(self):
        self.server.seen.append((self.path, None, dict(self.headers)))
        self.answer(200 if self.path.startswith("/echo") else 404, {"path": self.path})

    def answer(self, status, value, raw=False):
        body = value.encode() if raw else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def search():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Search)
    server.daemon_threads = True
    server.seen = []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def broker(search):
    return Broker({"search": search.url}, ServiceLimits(timeout_s=0.5, requests_per_call=6, requests_per_episode=9))


@pytest.fixture
def session(jail, broker):
    opened = jail.open(TOOLS, services=broker.channel(["search"]), limits=Limits(call_timeout_s=0.4))
    yield opened
    opened.close()


def call(session, name, **arguments):
    result = session.call(name, arguments)
    return result.value if result.ok else (result.status, result.error_message)


def test_a_musique_row_runs_unchanged(search, shared_jail):
    env = SynToolEnv(services={"search": search.url}, dialect="recall")
    env.reset(seed=0, options={"task": ROW})
    text = '<think>look</think><tool_call>{"name": "wikipedia_search", "arguments": {"query": "lamp", "top_n": 2}}'
    observation, *_, info = env.step(text + "</tool_call>")
    assert "lamp 0\n\nlamp 1" in observation and info["tool_calls"][0]["status"] == "ok"
    *_, info = env.step("<think>so</think> It is \\boxed{Ann}")
    assert info["success"] and search.seen[0][:2] == ("/search", {"query": "lamp", "top_n": 2})
    env.close()


def test_a_row_that_needs_a_service_nobody_configured_is_refused_in_one_line():
    with pytest.raises(TaskError, match="task musique-1 needs the service 'search'; say where it is"):
        SynToolEnv().reset(options={"task": ROW})


def test_placeholders_name_the_services_of_recalls_rows_which_keep_their_form():
    from recall_env.task import Task

    task = Task.from_row(ROW)
    assert placeholders(MUSIQUE) == task.services == ("search",)
    assert task.to_row() == ROW


def test_what_a_service_says_reaches_the_tool_errors_included(session):
    assert call(session, "post", path="/search", body={"query": "a", "top_n": 1}) == [
        200,
        '[{"contents": "a 0"}]',
        True,
    ]
    assert call(session, "post", path="/422")[0::2] == [422, False]
    assert call(session, "careful", path="/nothing") == "404"
    assert call(session, "get", path="/echo?a=1", params={"b": [2, 3], "c": None})["path"] == "/echo?a=1&b=2&b=3"


def test_headers_of_the_tool_do_not_cross(session, search):
    call(session, "post", path="/search", body={"query": "a"})
    assert "X-Secret" not in search.seen[0][2]


def test_a_redirect_is_not_followed(session, search):
    assert call(session, "post", path="/moved")[0] == 302
    assert len(search.seen) == 1


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:{port}", "http://localhost", "http://search.example.com", "file:///etc/passwd", "search", "//x"],
)
def test_only_named_services_can_be_reached(session, search, url):
    status, message = call(session, "post", path="/search", url=url.format(port=search.server_port))
    assert status == "tool_error" and "http://search" in message and not search.seen


@pytest.mark.parametrize("path", ["/../admin", "//evil.example.com/", "/a b", "/%2e%2e/", "/é", "/a\\b", "/@x"])
def test_only_plain_paths_are_sent(session, search, path):
    status, message = call(session, "post", path=path)
    assert status == "tool_error" and "not a plain path" in message and not search.seen


def test_a_path_cannot_change_the_host(session, search):
    assert call(session, "post", path="@evil.example.com/search")[0] == "tool_error"
    assert call(session, "post", path=":1/search")[0] == "tool_error"
    assert not search.seen


def test_a_call_and_an_episode_may_ask_so_many_times(session, broker):
    assert call(session, "many", count=6) == 6
    assert call(session, "many", count=7) == ("tool_error", "one episode may ask services 9 times")
    assert broker.metrics["search"].requests == 9 and broker.metrics["search"].refused == 1


def test_one_call_may_not_ask_for_ever(jail, search):
    channel = Broker({"search": search.url}).channel(["search"])
    with_many = jail.open(TOOLS, services=channel)
    assert call(with_many, "many", count=9) == ("tool_error", "one call may ask services 8 times")
    with_many.close()


def test_a_long_request_and_a_long_answer_are_errors_of_the_tools(session):
    assert "the limit is 32768" in call(session, "post", path="/search", body={"query": "x" * 40_000})[1]
    assert "longer than 65536" in call(session, "post", path="/long", body=70_000)[1]
    assert "262144 bytes of JSON" in call(session, "post", path="/wide", body=60_000)[1]
    assert call(session, "get", path="/echo") == {"path": "/echo"}


def test_the_time_of_a_service_is_not_the_tools(session):
    """The call's own limit is 0.4 s, of which the service takes 0.3 s each time."""
    assert [call(session, "post", path="/slow", body=0.3)[0] for _ in range(2)] == [200, 200]


def test_a_service_that_is_late_or_down_is_our_fault(session, jail, search):
    with pytest.raises(SandboxFailure, match=r"service search at .*: timed out"):
        session.call("post", {"path": "/slow", "body": 2})
    with pytest.raises(SandboxFailure, match="timed out"):
        session.call("get", {"path": "/echo"})
    for address, path, words in ((search.url, "/503", "HTTP 503"), ("http://127.0.0.1:9", "/", "connection refused")):
        other = jail.open(TOOLS, services=Broker({"search": address}).channel(["search"]))
        with pytest.raises(SandboxFailure, match=words):
            other.call("post", {"path": path})
        other.close()


def test_an_episode_whose_service_is_down_is_void_and_not_a_failure(shared_jail):
    env = SynToolEnv(services={"search": "http://127.0.0.1:9"})
    env.reset(seed=0, options={"task": ROW})
    call = '<tool_call>{"name": "wikipedia_search", "arguments": {"query": "lamp"}}</tool_call>'
    observation, reward, terminated, truncated, info = env.step(call)
    assert (observation, reward, terminated, truncated, info["valid"]) == ("", 0.0, False, True, False)
    assert info["failure"] == "infra"
    env.close()


def test_threads_of_a_tool_share_the_one_wire(session):
    assert call(session, "in_threads") == ["/echo?n=1"] * 4


def test_a_request_outside_of_a_call_is_a_violation(session, search):
    assert call(session, "later") is None
    time.sleep(0.15)
    assert session.call("get", {"path": "/echo"}).status == "violation"
    assert not search.seen


def test_without_services_the_wire_takes_no_requests(jail):
    source = """
import socket, json, sys
def ask():
    frame = sys._getframe()
    while "request" not in frame.f_locals or "nonce" not in frame.f_locals["request"]:
        frame = frame.f_back
    nonce = frame.f_locals["request"]["nonce"]
    wire = socket.socket(fileno=3)
    wire.send(json.dumps({"nonce": nonce, "service": "search", "method": "GET", "path": "/", "params": [],
                          "body": None}).encode())
    return wire.recv(1000).decode()
def module():
    import requests
"""
    plain = jail.open(source)
    assert plain.call("module", {}).error_type == "ModuleNotFoundError"
    assert plain.call("ask", {}).status == "violation"
    plain.close()


@pytest.mark.parametrize(
    ("addresses", "words"),
    [
        ({"search": "127.0.0.1:8000"}, "expected an address such as"),
        ({"search": "ftp://host"}, "expected an address such as"),
        ({"Search": "http://host"}, "a name is lower-case letters"),
    ],
)
def test_an_address_that_is_none_is_refused_when_it_is_given(addresses, words):
    with pytest.raises(RecallError, match=words):
        Broker(addresses)


def test_addresses_are_read_from_text():
    assert read_addresses(["search=http://h:1/a=b"]) == {"search": "http://h:1/a=b"}
    with pytest.raises(RecallError, match="expected NAME=ADDRESS"):
        read_addresses(["http://h:1"])
    with pytest.raises(RecallError, match="no service 'serch'; did you mean 'search'"):
        Broker({"search": "http://h"}).channel(["serch"])
