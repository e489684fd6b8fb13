"""What an EnvPool stands on: work in pieces, what it waits for, and threads for what cannot be waited for."""

import gc
import os
import threading
import time
from collections import deque

import pytest

from recall_env.in_pieces import SLOW, at_once, finish, in_one, pieces_of
from recall_env.waits import MANY, PAUSE_S, Waits
from recall_env.workers import Workers


class Pipe:
    """Something to wait for, over when `fill` was called."""

    def __init__(self, within_s=60.0):
        self.ours, self.theirs = os.pipe()
        self.deadline = time.monotonic() + within_s

    def fill(self):
        os.write(self.theirs, b"x")

    def fileno(self):
        return self.ours

    def wait(self):
        os.read(self.ours, 1)

    def close(self):
        os.close(self.ours)
        os.close(self.theirs)
        self.ours = -1


@pytest.fixture
def pipes():
    made = []

    def make(**settings):
        made.append(Pipe(**settings))
        return made[-1]

    yield make
    for pipe in made:
        if pipe.ours >= 0:
            pipe.close()


@pytest.fixture
def waits():
    made = Waits(4)
    yield made
    made.close()


def look(waits, timeout_s):
    found = deque()
    waits.ready(timeout_s, found)
    return list(found)


def test_work_is_finished_in_the_callers_thread_whatever_it_waits_for(pipes):
    pipe, seen = pipes(), []

    def work():
        seen.append((yield pipe))
        yield SLOW
        return "done"

    threading.Timer(0.05, pipe.fill).start()
    assert finish(work()) == "done" and seen == [None]
    assert list(in_one(divmod, 7, 2)) == [SLOW] and finish(in_one(divmod, 7, 2)) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        finish(in_one(divmod, 7, 0))
    assert list(at_once(3)) == [] and finish(at_once(3)) == 3


def test_work_whose_wait_is_interrupted_is_over(pipes):
    pipe, ended = pipes(), []

    def interrupt():
        raise KeyboardInterrupt

    def work():
        try:
            yield pipe
        except BaseException as error:
            ended.append(type(error))
            raise

    pipe.wait = interrupt
    with pytest.raises(KeyboardInterrupt):
        finish(work())
    assert ended == [GeneratorExit]


def test_a_class_that_overrides_one_way_of_two_means_it():
    class Both:
        def do(self):
            return "waited"

        def do_in_pieces(self):
            yield SLOW
            return "in pieces"

    class Own(Both):
        def do(self):
            return "its own"

    class More(Both):
        pass

    for kind, said in ((Both, "in pieces"), (More, "in pieces"), (Own, "its own")):
        assert finish(pieces_of(kind(), "do")()) == said


def test_those_whose_waits_are_over_are_named_once(pipes, waits):
    first, second = pipes(), pipes()
    waits.add(0, first)
    waits.add(1, second)
    assert look(waits, 0) == [] and waits.count == 2
    second.fill()
    assert look(waits, None) == [1] and waits.count == 1
    first.fill()
    assert look(waits, None) == [0] and look(waits, 0) == [] and waits.count == 0


def test_where_many_wait_those_that_can_go_on_within_a_moment_go_on_together(pipes, monkeypatch):
    many = Waits(MANY + 3)
    waiting = [pipes() for _ in range(MANY + 3)]
    for number, pipe in enumerate(waiting):
        many.add(number, pipe)
    paused = []

    def pause(seconds):
        paused.append(seconds)
        waiting[1].fill()

    monkeypatch.setattr(time, "sleep", pause)
    waiting[0].fill()
    assert look(many, 5) == [0, 1] and paused == [PAUSE_S] and many.count == MANY + 1
    waiting[2].fill()
    assert look(many, 0) == [2] and paused == [PAUSE_S]  # whoever has no time at all does not wait for others
    waiting[3].fill()
    assert look(many, 5) == [3] and paused == [PAUSE_S]  # MANY are left: no more than that
    many.close()


def test_who_waits_again_before_his_wait_was_over_counts_once(pipes, waits):
    pipe = pipes()
    waits.add(0, pipe)
    waits.add(0, pipe)
    assert waits.count == 1
    pipe.fill()
    assert look(waits, 5) == [0] and waits.count == 0


def test_a_wait_may_be_for_ever(pipes, waits):
    pipe = pipes(within_s=float("inf"))
    waits.add(0, pipe)
    threading.Timer(0.05, pipe.fill).start()
    assert look(waits, float("inf")) == [0]
    pipe.wait()
    pipe.deadline = time.monotonic() + 1e9  # seconds; in milliseconds beyond what epoll counts
    waits.add(0, pipe)
    pipe.fill()
    assert look(waits, None) == [0]


def test_a_socket_stays_registered_and_what_comes_while_nobody_waits_is_nobodys(pipes, waits):
    pipe = pipes()
    for _ in range(3):
        waits.add(2, pipe)
        pipe.fill()
        assert look(waits, 5) == [2]
        pipe.wait()
    pipe.fill()
    assert look(waits, 0.05) == []


def test_a_descriptor_that_is_used_again_is_the_new_ones(pipes, waits):
    gone = pipes()
    waits.add(0, gone)
    gone.fill()
    assert look(waits, 5) == [0]
    number = gone.fileno()
    gone.close()
    new = pipes()
    assert new.fileno() == number
    waits.add(3, new)
    new.fill()
    assert look(waits, 5) == [3]


def test_a_wait_is_over_at_its_deadline_and_never_before_it_without_reason(pipes, waits):
    late, later, never = pipes(within_s=0.1), pipes(within_s=0.2), pipes()
    start = time.monotonic()
    for number, pipe in enumerate((later, late, never)):
        waits.add(number, pipe)
    assert look(waits, None) == [1] and time.monotonic() >= late.deadline
    assert look(waits, None) == [0] and time.monotonic() >= later.deadline
    assert look(waits, 0.05) == [] and waits.count == 1 and time.monotonic() - start < 5


def test_an_alarm_of_an_earlier_wait_serves_a_later_one(pipes, waits):
    pipe = pipes(within_s=0.05)
    waits.add(0, pipe)
    pipe.fill()
    assert look(waits, 5) == [0]
    pipe.wait()
    pipe.deadline = time.monotonic() + 0.2
    waits.add(0, pipe)
    found = []
    while not found:  # the earlier alarm may have it look up, and no more
        found = look(waits, 5)
    assert found == [0] and time.monotonic() >= pipe.deadline
    pipe.deadline = time.monotonic() + 60
    waits.add(0, pipe)
    pipe.deadline = time.monotonic() + 0.1  # sooner than the alarm that is set
    look(waits, 0)
    pipe.fill()
    look(waits, 5)
    waits.add(0, pipe)
    assert look(waits, 5) == [0]


def test_what_somebody_else_has_closed_is_over(pipes, waits):
    pipe = pipes()
    pipe.close()
    waits.add(0, pipe)
    assert look(waits, 5) == [0]


def test_another_thread_may_end_a_look(waits):
    threading.Timer(0.05, waits.wake).start()
    start = time.monotonic()
    assert look(waits, 20) == [] and 0.04 < time.monotonic() - start < 10
    waits.wake()  # before the look is soon enough
    assert look(waits, 20) == []
    closed = Waits(1)
    closed.close()
    closed.wake()


def test_workers_are_made_when_all_others_are_at_work_and_no_more_than_allowed():
    workers, gate, done = Workers(2, "test"), threading.Event(), []
    for number in range(3):
        workers.do(lambda number=number: done.append(number))
        while len(done) <= number or not workers._idle:
            time.sleep(0.001)
    assert done == [0, 1, 2] and len(workers._threads) == 1
    for _ in range(4):
        workers.do(lambda: done.append(gate.wait(20)))
    assert len(workers._threads) == 2 and [thread.name for thread in workers._threads] == ["test_0", "test_1"]
    gate.set()
    while len(done) < 7:
        time.sleep(0.001)
    workers.dismiss()
    assert not any(thread.is_alive() for thread in workers._threads)


def test_dismissed_workers_finish_what_they_are_at_and_begin_nothing():
    workers, begun, gate, done = Workers(1, "test"), threading.Event(), threading.Event(), []

    def job():
        begun.set()
        gate.wait(20)
        done.append("first")

    workers.do(job)
    workers.do(lambda: done.append("second"))
    begun.wait(20)
    threading.Timer(0.05, gate.set).start()
    workers.dismiss()
    workers.dismiss()
    assert done == ["first"]


def test_workers_that_are_dropped_end():
    workers = Workers(1, "test")
    workers.do(lambda: None)
    (thread,) = workers._threads
    del workers
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
