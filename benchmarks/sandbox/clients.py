"""Clients of POST /execute, of the two kinds that ReCall's users have: keep-alive connections, and requests.post."""

import http.client
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import requests

from benchmarks.sandbox import tools
from benchmarks.sandbox.driver import Driven

HEADERS = {"Content-Type": "application/json"}
TIMEOUT_S = 30.0
BODY = {"env": tools.SOURCE, "call": tools.CALL_TEXT, "timeout": 3}

Ask = Callable[[], dict[str, Any]]


def keep_alive(port: int, body: dict[str, Any] = BODY) -> Ask:
    """One connection for all calls. The body is JSON already: what a client spends on it is not the server's."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    payload = json.dumps(body).encode()

    def ask() -> dict[str, Any]:
        connection.request("POST", "/execute", payload, HEADERS)
        with connection.getresponse() as response:
            return json.loads(response.read())

    return ask


def post(port: int, body: dict[str, Any] = BODY) -> Ask:
    """A new connection a call, as ReCall's trainer makes them."""
    url = f"http://127.0.0.1:{port}/execute"
    return lambda: requests.post(url, json=body, timeout=TIMEOUT_S).json()


def load(client: Callable[[int], Ask], port: int, count: int, duration_s: float, least: int = 1) -> Driven:
    """`count` threads asking one after another; each makes `least` calls. RuntimeError on a wrong answer."""
    parts, faults = [Driven() for _ in range(count)], []

    def run(driven: Driven) -> None:
        ask, now = client(port), time.perf_counter()
        end = now + duration_s
        try:
            while now < end or len(driven.latencies_s) < least:
                before, answer = now, ask()
                now = time.perf_counter()
                driven.latencies_s.append(now - before)
                if answer.get("result") != tools.VALUE:
                    raise RuntimeError(f"a call came to {answer}; expected {tools.VALUE}")
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(part,)) for part in parts]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return Driven(time.perf_counter() - start, [each for part in parts for each in part.latencies_s])
