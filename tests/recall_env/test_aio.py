"""Sessions driven by an event loop, in a real jail: results, deadlines, services, deaths, a loop that stays free."""

import asyncio
import http.server
import json
import os
import signal
import threading
import time

import pytest

from recall_env.errors import SandboxFailure
from recall_env.sandbox import Limits
from recall_env.sandbox.aio import AsyncSession, call
from recall_env.sandbox.broker import Broker

TOOLS = """
import os, threading, time
kept = []
def echo(value=None): return value
def keep(item):
    kept.append(item)
    return kept
def nap(s):
    time.sleep(s)
    return s
def spin():
    while True: pass
def fail(): raise KeyError("k")
def die(): os._exit(3)
def speak_later(s):
    def speak():
        time.sleep(s)
        for fd in range(3, 64):
            try: os.write(fd, b"{}")
            except OSError: pass
    threading.Thread(target=speak, daemon=True).start()
"""


@pytest.fixture
def play(jail):
    """play(test, **open's arguments): runs `await test(AsyncSession)` and closes the session."""

    def play(test, source=TOOLS, **options):
        async def main():
            driven = AsyncSession(jail.open(source, **options))
            try:
                return await test(driven)
            finally:
                driven.close()

        return asyncio.run(main())

    return play


def test_calls_come_to_what_they_come_to_without_an_event_loop(play):
    async def test(driven):
        assert (await driven.call("echo", {"value": [1, None]})).value == [1, None]
        assert (await driven.call("keep", {"item": "a"})).value == ["a"]
        assert (await driven.call("keep", {"item": "b"})).value == ["a", "b"]
        assert (await driven.call("fail", {})).error_type == "KeyError"
        assert (await driven.call("nothing", {})).status == "unknown_tool"
        assert (await driven.call("echo", {"value": float("nan")})).status == "invalid_arguments"
        assert driven.sound

    play(test)


def test_the_loop_is_free_while_calls_run_and_many_run_at_once(jail):
    async def main():
        sessions = [AsyncSession(jail.open(TOOLS)) for _ in range(8)]
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        began = time.monotonic()
        results = await asyncio.gather(*(one.call("nap", {"s": 0.3}) for one in sessions))
        took = time.monotonic() - began
        ticking.cancel()
        for one in sessions:
            one.close()
        assert [result.value for result in results] == [0.3] * 8
        assert took < 1.5 and ticks > 5

    asyncio.run(main())


def test_a_deadline_is_kept_call_by_call_whatever_the_one_before_had(play):
    async def test(driven):
        assert (await driven.call("nap", {"s": 0.01}, 3.0)).ok  # leaves an alarm that rings too late for the next
        began = time.monotonic()
        result = await driven.call("spin", {}, 0.2)
        assert result.status == "timeout" and "0.2 s" in result.error_message
        assert time.monotonic() - began < 1.0
        assert not driven.sound
        assert (await driven.call("echo", {})).status == "timeout"  # as without an event loop: the tools are gone

    play(test)


def test_an_alarm_of_an_earlier_call_does_not_end_a_later_one(play):
    async def test(driven):
        assert (await driven.call("echo", {}, 0.2)).ok
        assert (await driven.call("nap", {"s": 0.5}, 3.0)).ok

    play(test)


def test_a_tool_that_dies_is_a_violation(play):
    async def test(driven):
        result = await driven.call("die", {})
        assert result.status == "violation" and "exited (code 3)" in result.error_message

    play(test)


def test_a_death_between_calls_is_noticed_before_the_next_one(play):
    async def test(driven):
        assert (await driven.call("echo", {})).ok
        signal.pidfd_send_signal(driven.session._jailed.pidfd, signal.SIGKILL)
        for _ in range(100):
            await asyncio.sleep(0.01)
            if not driven.sound:
                break
        assert not driven.sound
        with pytest.raises(SandboxFailure, match="killed from outside"):
            await driven.call("echo", {})

    play(test)


def test_a_frame_between_calls_ends_the_episode_and_does_not_spin_the_loop(play):
    async def test(driven):
        assert (await driven.call("speak_later", {"s": 0.1})).ok
        before = time.process_time()
        await asyncio.sleep(0.5)
        assert time.process_time() - before < 0.25
        assert not driven.sound
        assert (await driven.call("echo", {})).status == "violation"

    play(test)


def test_a_cancelled_call_closes_its_session(play):
    async def test(driven):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await driven.call("spin", {})
        assert not driven.sound
        with pytest.raises(SandboxFailure, match="closed"):
            await driven.call("echo", {})

    play(test)


def test_closing_in_mid_call_is_a_sandbox_failure_for_who_waits(play):
    async def test(driven):
        waiting = asyncio.create_task(driven.call("spin", {}))
        await asyncio.sleep(0.1)
        driven.close()
        with pytest.raises(SandboxFailure, match="closed"):
            await waiting

    play(test)


def test_a_session_with_an_interpreter_for_each_call_works_too(play):
    async def test(driven):
        assert (await driven.call("keep", {"item": "a"})).value == ["a"]
        assert (await driven.call("keep", {"item": "b"})).value == ["b"]
        assert driven.sound

    play(test, mode="process")


def test_a_session_is_borrowed_for_one_call_and_given_back(jail):
    session = jail.open(TOOLS)
    assert asyncio.run(call(session, "keep", {"item": 1})).value == [1]
    assert session.call("keep", {"item": 2}).value == [1, 2]
    session.close()


def test_a_service_is_asked_in_a_thread_and_its_time_is_not_the_tools(play):
    with search() as address:
        broker = Broker({"search": address})
        source = "import requests\ndef find(q): return requests.post('http://search/find', json={'q': q}).json()"

        async def test(driven):
            one = asyncio.create_task(driven.call("find", {"q": "a"}, 0.3))
            ticks = 0
            while not one.done():
                await asyncio.sleep(0.01)
                ticks += 1
            assert (await one).value == {"found": {"q": "a"}}
            assert ticks > 5
            assert (await driven.call("find", {"q": "b"}, 0.3)).value == {"found": {"q": "b"}}

        play(test, source, services=broker.channel(["search"]), limits=Limits(call_timeout_s=1.0))


class search:
    """A search service that takes 0.4 s."""

    def __enter__(self) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                time.sleep(0.4)
                body = json.dumps({"found": asked}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *exception):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def test_nothing_stays_open_after_a_loop_has_ended(jail):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        session = jail.open(TOOLS)
        asyncio.run(call(session, "echo", {}))
        session.close()
    assert len(os.listdir("/proc/self/fd")) == before
