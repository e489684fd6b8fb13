"""EnvPool and real jails: turns are gone on with in pieces, by the driver or by who stands in for him."""

import json
import os
import signal
import threading
import time
from collections import deque

import pytest

from recall_env.env import SynToolEnv
from recall_env.rubric import Exact, Rubric, part
from recall_env.sandbox import JailPool
from recall_env.vector import EnvPool

SLEEPY = """
import time

def nap(seconds: float):
    time.sleep(seconds)
    return seconds

def spin():
    while True:
        pass
"""
SCHEMAS = tuple(
    {"type": "function", "function": {"name": name, "description": name, "parameters": parameters}}
    for name, parameters in {
        "nap": {"type": "object", "properties": {"seconds": {"type": "number"}}, "required": ["seconds"]},
        "spin": {"type": "object", "properties": {}},
    }.items()
)
LIMIT_S = 0.5

DIES = """
import os

def live():
    return 1

def die():
    os._exit(3)
"""
DIES_SCHEMAS = tuple({"name": name, "description": name, "parameters": {"type": "object"}} for name in ("live", "die"))


@pytest.fixture
def sleepy(make_task):
    return make_task(source=SLEEPY, schemas=SCHEMAS, solution=None, limits={"call_timeout_s": LIMIT_S})


def calls(*names_and_arguments):
    texts = (json.dumps({"name": name, "arguments": arguments}) for name, arguments in names_and_arguments)
    return "".join(f"<tool_call>{text}</tool_call>" for text in texts)


def nap(seconds, times=1):
    return calls(*[("nap", {"seconds": seconds})] * times)


def pool_of(jail, size, task, **settings):
    """With an episode in each slot, after its first call."""
    pool = EnvPool(lambda: SynToolEnv(sandbox=jail, max_turns=100, **settings), size, workers=1)
    for index in range(size):
        pool.reset(index, seed=index, options={"task": task})
    assert not [event.error for event in pool.recv(min_ready=size) if event.error]
    for index in range(size):
        pool.send(index, nap(0))
    assert {event.info["tool_calls"][0]["status"] for event in pool.recv(min_ready=size)} == {"ok"}
    return pool


def test_slow_tools_hold_up_nobody_with_a_single_worker(jail, sleepy):
    with pool_of(jail, 24, sleepy) as pool:
        start = time.monotonic()
        for index in range(pool.size):
            pool.send(index, nap(0.3))
        events = pool.recv(min_ready=pool.size)
        assert len(events) == pool.size and 0.3 < time.monotonic() - start < 24 * 0.3 / 2
        assert {event.info["tool_calls"][0]["value"] for event in events} == {0.3}


def test_the_same_turns_come_to_the_same_whether_one_waits_for_them_or_goes_on_in_pieces(jail, tasks):
    turns = [calls(("add", {"item": "lamp", "count": 2}), ("draw", {})), calls(("total", {})), "\\boxed{25}"]
    env = SynToolEnv(sandbox=jail)
    _, first = env.reset(seed=5, options={"task": tasks[0]})
    waited = [first, *(env.step(turn) for turn in turns)]
    env.close()
    with EnvPool(lambda: SynToolEnv(sandbox=jail), size=1) as pool:
        pool.reset(0, seed=5, options={"task": tasks[0]})
        in_pieces = [pool.recv()[0].info]
        for turn in turns:
            pool.send(0, turn)
            (event,) = pool.recv()
            in_pieces.append((event.observation, event.reward, event.terminated, event.truncated, event.info))
        assert {key: len(value) for key, value in pool.telemetry(0).items() if key != "infra_retries"} == {
            "open_s": 1, "call_s": 3, "step_s": 3,
        }  # fmt: skip
    assert json.dumps(in_pieces) == json.dumps(waited)


def test_a_tool_that_hangs_is_stopped_in_time_while_the_driver_is_elsewhere(jail, sleepy):
    with pool_of(jail, 1, sleepy) as pool:
        pool.send(0, calls(("spin", {})))
        time.sleep(3 * LIMIT_S)
        (event,) = pool.recv(min_ready=0)
        assert event.info["tool_calls"][0]["status"] == "timeout"
        assert LIMIT_S <= pool.telemetry(0)["call_s"][-1] < 2 * LIMIT_S


def test_a_turn_of_many_calls_goes_on_while_the_driver_is_elsewhere(jail, sleepy):
    with pool_of(jail, 2, sleepy) as pool:
        pool.send(0, nap(0.05, times=5))
        time.sleep(1.0)
        pool.send(1, nap(0))  # whoever stood in has left
        events = {event.index: event for event in pool.recv(min_ready=2)}
        assert [call["status"] for call in events[0].info["tool_calls"]] == ["ok"] * 5
        assert max(pool.telemetry(0)["call_s"][1:]) < 0.5


def test_a_jail_that_dies_under_a_call_is_mended(sleepy):
    jail = JailPool(shards=1)
    try:
        with pool_of(jail, 1, sleepy) as pool:
            pool.send(0, nap(0.3))
            (session,) = jail._sessions
            os.kill(_pid(session._jailed.pidfd), signal.SIGKILL)
            (event,) = pool.recv(timeout_s=30)
            assert event.info["tool_calls"][0]["value"] == 0.3 and event.info["valid"]
            assert pool.telemetry(0)["infra_retries"] == 1
    finally:
        jail.close()


def test_an_environment_with_a_step_of_its_own_is_stepped_by_it(jail, tasks):
    class Loud(SynToolEnv):
        def step(self, action):
            observation, *rest = super().step(action)
            return observation.upper(), *rest

    with EnvPool(lambda: Loud(sandbox=jail), size=1) as pool:
        pool.reset(0, seed=1, options={"task": tasks[0]})
        pool.recv()
        pool.send(0, calls(("get_price", {"item": "lamp"})))
        (event,) = pool.recv()
        assert event.observation.startswith("<TOOL_RESPONSE>")


def test_a_part_of_somebodys_own_has_a_thread_while_it_scores(jail, tasks, registry_as_it_was):
    threads = []

    @part
    def slow(episode) -> float:
        threads.append(threading.current_thread().name)
        return 1.0

    rubric = Rubric({"answer": (1.0, Exact()), "slow": (1.0, slow)})
    with EnvPool(lambda: SynToolEnv(sandbox=jail, rubric=rubric), size=1) as pool:
        pool.reset(0, seed=1, options={"task": tasks[0]})
        pool.recv()
        pool.send(0, "\\boxed{25}")
        (event,) = pool.recv()
        assert event.reward == 2.0 and threads == ["recall-env_0"]


def test_ctrl_c_reaches_the_driver_and_the_slot_says_so(jail, tasks):
    """It comes wherever Python is: here while a turn is read."""
    env = SynToolEnv(sandbox=jail)
    with EnvPool(lambda: env, size=1) as pool:
        pool.reset(0, seed=1, options={"task": tasks[0]})
        pool.recv()
        env.dialect = Interrupted()
        with pytest.raises(KeyboardInterrupt):
            pool.send(0, "\\boxed{25}")
        (event,) = pool.recv()
        assert isinstance(event.error, KeyboardInterrupt)
        pool.reset(0, seed=1, options={"task": tasks[0]})


class Interrupted:
    """A dialect that is interrupted."""

    takes_messages = False

    def parse(self, text, extractor=None):
        raise KeyboardInterrupt


def test_ctrl_c_in_the_midst_of_many_loses_none_of_them(jail, sleepy):
    with pool_of(jail, 4, sleepy) as pool:
        pool._stand_in_once = lambda: False
        for index in range(4):
            pool.send(index, nap(0.05))
        time.sleep(0.5 * LIMIT_S)  # all have answered, and nobody has looked
        before = pool._ready
        pool._ready = Interrupting(before)
        with pytest.raises(KeyboardInterrupt):
            pool.recv(min_ready=4)
        pool._ready = deque(pool._ready)
        assert len(pool.recv(min_ready=4, timeout_s=10)) == 4


class Interrupting(deque):
    """The second slot to be taken from it brings a Ctrl-C."""

    taken = 0

    def popleft(self):
        self.taken += 1
        if self.taken == 2:
            raise KeyboardInterrupt
        return super().popleft()


def test_the_wait_for_a_worker_is_not_the_tools(jail, tasks, make_task, registry_as_it_was):
    """The one worker scores for longer than a call may take; then it hears how the other episode's tools ended."""

    @part
    def ponders(episode) -> float:
        time.sleep(3 * LIMIT_S)
        return 1.0

    dies = make_task(source=DIES, schemas=DIES_SCHEMAS, solution=None, limits={"call_timeout_s": LIMIT_S})
    rubric = Rubric({"answer": (1.0, Exact()), "ponders": (1.0, ponders)})
    with EnvPool(lambda: SynToolEnv(sandbox=jail, rubric=rubric), size=2, workers=1) as pool:
        for index, task in enumerate((tasks[0], dies)):
            pool.reset(index, seed=1, options={"task": task})
        pool.recv(min_ready=2)
        pool.send(1, calls(("live", {})))
        pool.recv()
        pool.send(0, "\\boxed{25}")
        pool.send(1, calls(("die", {})))
        events = {event.index: event for event in pool.recv(min_ready=2)}
        assert events[1].info["tool_calls"][0]["status"] == "violation"


def test_a_time_that_is_over_already_is_no_wait(jail, sleepy):
    with pool_of(jail, 1, sleepy) as pool:
        pool.send(0, nap(0.2))
        assert pool.recv(timeout_s=-1.0) == []
        assert len(pool.recv()) == 1


def test_closing_ends_the_episodes_whose_tools_still_run(jail, sleepy):
    pool = pool_of(jail, 4, sleepy)
    for index in range(3):
        pool.send(index, nap(30))
    start = time.monotonic()
    sessions = list(jail._sessions)
    pool.close()
    assert time.monotonic() - start < 5 and pool.recv() == [] and pool.pending == 0
    assert not any(session.alive for session in sessions)


def _pid(pidfd: int) -> int:
    with open(f"/proc/self/fdinfo/{pidfd}") as info:
        return int(next(line for line in info if line.startswith("Pid:")).split()[1])
