"""EnvPool: episodes that advance alone."""

import gc
import threading
import time
from concurrent.futures import Future

import gymnasium as gym
import pytest

from recall_env.env import SynToolEnv
from recall_env.errors import RecallError, TaskError
from recall_env.vector import EnvPool


class Clockwork(gym.Env):
    """Steps when it is told to: the action names what to do."""

    gates: dict[str, threading.Event]

    def __init__(self, gates=None):
        self.gates, self.closed = gates or {}, False

    def reset(self, *, seed=None, options=None):
        return f"seed {seed}", {"options": options}

    def step(self, action):
        if action == "raise":
            raise TaskError("broken on purpose")
        if action in self.gates:
            self.gates[action].wait(20)
        return action, 1.0, action == "end", False, {}

    def close(self):
        self.closed = True


def test_events_come_in_the_order_in_which_they_are_ready_without_a_barrier():
    gate = threading.Event()
    with EnvPool(lambda: Clockwork({"slow": gate}), size=3, workers=3) as pool:
        for index in range(3):
            pool.reset(index, seed=index, options={"i": index})
        events = sorted(pool.recv(min_ready=3), key=lambda event: event.index)
        assert [(e.observation, e.info["options"]["i"], e.terminated) for e in events] == [
            ("seed 0", 0, False),
            ("seed 1", 1, False),
            ("seed 2", 2, False),
        ]
        pool.send(0, "slow")
        for turn in range(5):  # the others take five turns while slot 0 stands still
            pool.send(1, f"a{turn}")
            pool.send(2, f"b{turn}")
            assert {e.observation for e in pool.recv(min_ready=2)} == {f"a{turn}", f"b{turn}"}
        assert pool.pending == 1
        gate.set()
        (event,) = pool.recv()
        assert (event.index, event.observation, event.reward) == (0, "slow", 1.0)


def test_recv_waits_no_longer_than_its_timeout_and_for_no_more_than_is_pending():
    gate = threading.Event()
    with EnvPool(lambda: Clockwork({"slow": gate}), size=2, workers=2) as pool:
        assert pool.recv(min_ready=5) == []
        pool.reset(0)
        assert len(pool.recv(min_ready=5)) == 1
        pool.send(0, "slow")
        start = time.monotonic()
        assert pool.recv(timeout_s=0.1) == [] and 0.09 < time.monotonic() - start < 5
        assert pool.recv(min_ready=0) == [] and pool.pending == 1
        gate.set()
        assert len(pool.recv(timeout_s=20)) == 1 and pool.pending == 0


def test_what_an_environment_raises_arrives_as_its_event_and_the_others_go_on():
    with EnvPool(Clockwork, size=2, workers=1) as pool:
        pool.reset(0)
        pool.reset(1)
        pool.recv(min_ready=2)
        pool.send(0, "raise")
        pool.send(1, "fine")
        first, second = sorted(pool.recv(min_ready=2), key=lambda event: event.index)
        assert isinstance(first.error, TaskError) and second.error is None
        pool.reset(0)  # the slot is free again
        assert pool.recv()[0].error is None


class Torn:
    """Raises when it is looked into."""

    def __iter__(self):
        raise OSError("gone")


@pytest.mark.parametrize("outcome", [("text", 1.0, False, {}), None, Torn()])
def test_an_environment_that_returns_no_step_is_told_what_one_is(monkeypatch, outcome):
    monkeypatch.setattr(Clockwork, "step", lambda self, action: outcome)
    with EnvPool(Clockwork, size=2, workers=1) as pool:
        pool.reset(1)
        pool.recv()
        pool.send(1, "a")
        (event,) = pool.recv(timeout_s=float("inf"))
        assert isinstance(event.error, RecallError) and "expected (observation, reward," in str(event.error)


def test_a_turn_that_is_still_being_written_holds_no_worker():
    with EnvPool(Clockwork, size=2, workers=1) as pool:
        pool.reset(0)
        pool.reset(1)
        pool.recv(min_ready=2)
        written, never = Future(), Future()
        pool.send(0, written)
        with pytest.raises(RecallError, match="slot 0 is busy"):
            pool.send(0, "another")
        for turn in range(3):
            pool.send(1, f"b{turn}")
            assert [event.observation for event in pool.recv()] == [f"b{turn}"]
        written.set_result("at last")
        assert [(event.index, event.observation) for event in pool.recv()] == [(0, "at last")]
        pool.send(0, never)
        never.set_exception(TaskError("the pen broke"))
        (event,) = pool.recv()
        assert event.index == 0 and str(event.error) == "the pen broke"


def test_a_turn_that_is_written_after_the_close_is_dropped(caplog):
    pool, written = EnvPool(Clockwork, size=1, workers=1), Future()
    pool.reset(0)
    pool.recv()
    pool.send(0, written)
    pool.close()
    written.set_result("too late")
    assert pool.recv() == [] and caplog.text == ""


def test_a_constructor_that_raises_arrives_as_an_event():
    def fail():
        raise TaskError("no such set")

    with EnvPool(fail, size=1, workers=1) as pool:
        pool.reset(0)
        assert "no such set" in str(pool.recv()[0].error)


@pytest.mark.parametrize("takes_s", [0.0, 0.01])
def test_environments_that_are_made_in_no_time_need_no_thread(task, takes_s):
    threads = []

    def make():
        threads.append(threading.current_thread())
        time.sleep(takes_s)
        return SynToolEnv()

    with EnvPool(make, size=20) as pool:
        for index in range(20):
            pool.reset(index, options={"task": task})
            assert pool.recv()[0].error is None
    here = threading.current_thread()
    assert threads[0] is not here  # nobody knows yet how long it takes
    assert (here in threads) == (takes_s == 0.0)


def test_a_slot_that_was_never_reset_says_so_at_once():
    gate = threading.Event()
    with EnvPool(lambda: Clockwork({"slow": gate}), size=2, workers=1) as pool:
        pool.reset(0)
        pool.recv()
        pool.send(0, "slow")  # the only worker is at it
        pool.send(1, "a")
        (event,) = pool.recv(min_ready=0)
        assert event.index == 1 and "never reset" in str(event.error)
        gate.set()


def test_what_asking_for_a_step_raises_is_the_event_of_its_slot():
    class Far(Clockwork):
        @property
        def step(self):
            raise ConnectionError("nobody is there")

    with EnvPool(Far, size=1) as pool:
        pool.reset(0)
        pool.recv()
        pool.send(0, "a")
        assert isinstance(pool.recv(timeout_s=20)[0].error, ConnectionError)


def test_who_was_quick_and_then_fails_gets_a_thread_again(task):
    threads, fails = [], []

    def make():
        threads.append(threading.current_thread())
        if fails:
            raise TaskError("no host")
        return SynToolEnv()

    with EnvPool(make, size=30) as pool:
        for index in range(20):
            pool.reset(index, options={"task": task})
            pool.recv()
        fails.append(True)
        for index in (20, 21):
            pool.reset(index, options={"task": task})
            assert isinstance(pool.recv()[0].error, TaskError)
    here = threading.current_thread()
    assert threads[-1] is not here


def test_a_slot_takes_one_operation_at_a_time():
    with EnvPool(Clockwork, size=1, workers=1) as pool:
        pool.reset(0)
        with pytest.raises(RecallError, match="slot 0 is busy; recv its event first"):
            pool.send(0, "x")
        pool.recv()
        with pytest.raises(RecallError, match="no slot 1; it has 1"):
            pool.reset(1)
    with pytest.raises(RecallError, match="closed"):
        pool.reset(0)
    pool.close()


def test_closing_closes_every_environment_even_when_operations_wait():
    made, gate = [], threading.Event()

    def make():
        made.append(Clockwork({"slow": gate}))
        return made[-1]

    pool = EnvPool(make, size=4, workers=1)
    for index in range(2):
        pool.reset(index)
    pool.recv(min_ready=2)
    pool.send(0, "slow")
    pool.send(1, "slow")
    threading.Timer(0.1, gate.set).start()
    pool.close()
    assert len(made) == 2 and all(env.closed for env in made)
    assert pool.pending == 0 and pool.recv() == []  # no waiting for what was cancelled


def test_episodes_in_jails_run_side_by_side(tasks, jail):
    gold = ["add", "total"]
    with EnvPool(lambda: SynToolEnv(tasks=tasks, sandbox=jail), size=12, workers=4) as pool:
        for index in range(pool.size):
            pool.reset(index, seed=index, options={"index": index % len(tasks)})
        turns, rewards = [0] * pool.size, {}
        while pool.pending:
            for event in pool.recv():
                assert event.error is None
                turn, turns[event.index] = turns[event.index], turns[event.index] + 1
                if event.terminated:
                    rewards[event.index] = event.reward
                elif turn < 2:
                    arguments = '{"item": "lamp", "count": 2}' if gold[turn] == "add" else "{}"
                    call = f'<tool_call>{{"name": "{gold[turn]}", "arguments": {arguments}}}</tool_call>'
                    pool.send(event.index, call)
                else:
                    pool.send(event.index, "\\boxed{25}")
    assert rewards == dict.fromkeys(range(12), 1.0)


def test_the_workers_of_a_pool_that_is_dropped_end():
    pool = EnvPool(Clockwork, size=2, workers=2)
    for index in range(2):
        pool.reset(index)
    pool.recv(min_ready=2)
    workers = pool._workers._threads
    assert workers
    del pool
    gc.collect()
    for worker in workers:
        worker.join(10)
    assert not any(worker.is_alive() for worker in workers)
