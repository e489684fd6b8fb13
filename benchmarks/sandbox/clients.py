"""Clients of POST /execute: the two kinds that ReCall's users have (keep-alive connections, requests.post), and a loop
over bare sockets, which costs so little that the server is the limit."""

import contextlib
import http.client
import json
import re
import selectors
import socket
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


def bare(port: int, count: int, duration_s: float, body: dict[str, Any] = BODY) -> Driven:
    """One thread with `count` keep-alive connections, a call in flight on each. RuntimeError on a wrong answer."""
    text = json.dumps(body).encode()
    request = b"POST /execute HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    request += b"content-length: %d\r\n\r\n%b" % (len(text), text)
    driven, start = Driven(), time.perf_counter()
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as sockets:
        for _ in range(count):
            sock = sockets.enter_context(socket.create_connection(("127.0.0.1", port), TIMEOUT_S))
            selector.register(sock, selectors.EVENT_READ, [bytearray(), time.perf_counter()])
            sock.sendall(request)
        while time.perf_counter() < start + duration_s:
            for key, _ in selector.select(TIMEOUT_S):
                received, began = key.data
                received += key.fileobj.recv(65536)
                if (answer := _body(received)) is None:
                    continue
                driven.latencies_s.append(time.perf_counter() - began)
                if json.loads(answer).get("result") != tools.VALUE:
                    raise RuntimeError(f"a call came to {answer!r}; expected {tools.VALUE}")
                received.clear()
                key.fileobj.sendall(request)
                key.data[1] = time.perf_counter()
    return Driven(time.perf_counter() - start, driven.latencies_s)


def _body(received: bytearray) -> bytes | None:
    """Of an answer, when it is all there."""
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return None
    length = int(re.search(rb"content-length: (\d+)", received[:head].lower())[1])
    body = bytes(received[head + 4 :])
    return body if len(body) >= length else None


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
