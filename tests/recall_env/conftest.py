"""What the tests of `recall-env serve` share: a server in a process of its own, and requests to it."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

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


class Served:
    """A server process, and requests to it."""

    TOOLS = TOOLS

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


@pytest.fixture
def serve():
    """serve(*options): a server of the test's own, which the test stops."""
    started = []

    def serve(*options: str) -> Served:
        started.append(Served(*options))
        return started[-1]

    yield serve
    for served in started:
        if served.process.poll() is None:  # the test failed before it could
            served.stop()


@pytest.fixture(scope="module")
def open_server():
    """Whoever may call."""
    served = Served("--max-in-flight", "16", "--max-body", "100000", "--max-timeout", "8", "--read-timeout", "1")
    yield served
    assert served.stop() == (0, "recall-env: stopped\n")


@pytest.fixture(scope="session")
def tokens(tmp_path_factory) -> tuple[str, str, str]:
    """Two tokens, and the file they stand in."""
    file = tmp_path_factory.mktemp("tokens") / "tokens"
    both = ("first-token-0123456789", "second-token-0123456789")
    file.write_text("# who may call\n" + "\n".join(both) + "\n")
    return *both, str(file)


@pytest.fixture(scope="module")
def closed_server(tokens):
    """Two tokens, an interpreter for each call of /execute, few sessions and not for long."""
    served = Served("--token-file", tokens[2], "--isolation", "call", "--max-sessions", "2", "--idle-timeout", "1")
    yield served
    assert served.stop() == (0, "recall-env: stopped\n")
