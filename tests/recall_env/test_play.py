"""Playing many episodes: who waits for whom, and what an error or Ctrl-C leaves of it."""

import signal
import threading

import gymnasium as gym
import pytest

from recall_env.agent import AgentFailure
from recall_env.dialect import DIALECTS
from recall_env.errors import EnvError, RecallError
from recall_env.play import Play, play_all

HERMES = DIALECTS["hermes"]
PATIENCE_S = 60  # until a wait that should have ended fails its test


class Toy(gym.Env):
    """Two turns; `during` is what its tools do, given the seed of the episode and the turn, from 0."""

    def __init__(self, during=lambda seed, turn: None):
        self.during = during

    def reset(self, *, seed=None, options=None):
        self.seed, self.turn = seed, 0
        return "", {"messages": [{"role": "user", "content": str(seed)}], "tools": None}

    def step(self, action):
        self.during(self.seed, self.turn)
        self.turn += 1
        return "", float(self.turn), self.turn == 2, False, {"messages": [], "tool_calls": []}


class Says:
    """before: what it does before each turn, given its number, from 0."""

    def __init__(self, before=lambda turn: None):
        self.before = before

    def act(self, messages, tools):
        self.before(sum(message["role"] == "assistant" for message in messages))
        return f"turn of {messages[0]['content']}"


@pytest.fixture
def play_toys(task):
    """play_toys(n, ...) -> what ended, in that order, and the error it was stopped by."""

    def play_toys(
        n, agent_of=lambda task, seed, dialect: Says(), during=lambda seed, turn: None, concurrency=8, on_end=None
    ):
        ended, plays = [], (Play(number, task, seed=number) for number in range(n))

        def tell(one):
            ended.append(one)
            if on_end is not None:
                on_end(one)

        error = None
        try:
            play_all(plays, lambda: Toy(during), agent_of, HERMES, concurrency=concurrency, on_end=tell)
        except (RecallError, ValueError, KeyboardInterrupt) as raised:
            error = raised
        return ended, error

    return play_toys


def test_every_episode_is_played_once_with_its_own_seed_and_turns(play_toys):
    ended, error = play_toys(50, concurrency=7)
    assert error is None and sorted(one.play.number for one in ended) == list(range(50))
    for one in ended:
        assert one.transcript.actions == [f"turn of {one.play.seed}"] * 2
        assert one.transcript.reward == 2.0 and one.fault is None


def test_200_slow_agents_write_while_200_slow_tools_run(play_toys):
    # Nobody passes until 200 turns are being written and 200 tools run, all at once.
    meeting = threading.Barrier(400)

    def slow_agent(task, seed, dialect):
        return Says(lambda turn: meeting.wait(PATIENCE_S) if seed < 200 and turn == 0 else None)

    def slow_tool(seed, turn):
        if seed >= 200 and turn == 0:
            meeting.wait(PATIENCE_S)

    ended, error = play_toys(400, slow_agent, slow_tool, concurrency=400)
    assert error is None and len(ended) == 400


def test_one_slow_tool_and_one_slow_agent_delay_their_own_episodes_only(play_toys):
    others_ended, count = threading.Event(), []

    def on_end(one):
        count.append(one)
        if len(count) == 98:
            others_ended.set()

    def wait(turn):
        assert others_ended.wait(PATIENCE_S)

    ended, error = play_toys(
        100,
        lambda task, seed, dialect: Says(wait if seed == 0 else lambda turn: None),
        lambda seed, turn: wait(turn) if seed == 1 else None,
        concurrency=3,
        on_end=on_end,
    )
    assert error is None and {one.play.number for one in ended[98:]} == {0, 1}


def test_what_an_agent_or_an_environment_does_wrong_in_one_episode_ends_that_one_alone(play_toys):
    def fail(turn):
        raise AgentFailure("the endpoint is gone")

    def during(seed, turn):
        if seed == 4:
            raise EnvError("the rubric raised")

    ended, error = play_toys(9, lambda task, seed, dialect: Says(fail if seed == 2 else lambda turn: None), during)
    assert error is None
    faults = {one.play.number: str(one.fault) for one in ended if one.fault is not None}
    assert faults == {2: "the endpoint is gone", 4: "the rubric raised"} and len(ended) == 9
    assert next(one for one in ended if one.play.number == 4).transcript.actions == []


@pytest.mark.parametrize("whose", ["agent", "env", "agent_of", "on_end"])
def test_any_other_error_begins_nothing_more_and_is_raised_after_the_episodes_in_flight(play_toys, whose):
    begun = []

    def fail(who, seed):
        if who == whose and seed == 20:
            raise ValueError(f"{who} broke")

    def agent_of(task, seed, dialect):
        begun.append(seed)
        fail("agent_of", seed)
        return Says(lambda turn: fail("agent", seed))

    ended, error = play_toys(
        1000,
        agent_of,
        lambda seed, turn: fail("env", seed),
        concurrency=4,
        on_end=lambda one: fail("on_end", one.play.seed),
    )
    assert str(error) == f"{whose} broke" and 20 in begun and len(begun) < 1000
    lost = set() if whose == "on_end" else {20}
    assert {one.play.number for one in ended} == set(begun) - lost


def test_a_task_that_cannot_be_read_stops_all(task):
    def plays():
        yield Play(0, task, 0)
        raise ValueError("row 1 is broken")

    ended = []
    with pytest.raises(ValueError, match="row 1 is broken"):
        play_all(plays(), Toy, lambda *_: Says(), HERMES, concurrency=2, on_end=ended.append)
    assert [one.play.number for one in ended] == [0]


def test_ctrl_c_begins_nothing_more_and_ends_after_the_episodes_in_flight(play_toys):
    begun, interrupted = [], threading.Event()

    def heard(number, frame):
        interrupted.set()
        raise KeyboardInterrupt

    def agent_of(task, seed, dialect):
        begun.append(seed)
        if seed == 7:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return Says(lambda turn: interrupted.wait(PATIENCE_S) if seed >= 7 else None)

    before = signal.signal(signal.SIGINT, heard)
    try:
        ended, error = play_toys(100_000, agent_of, concurrency=8)
    finally:
        signal.signal(signal.SIGINT, before)
    assert isinstance(error, KeyboardInterrupt) and interrupted.is_set()
    assert len(begun) < 100_000 and sorted(one.play.number for one in ended) == sorted(begun)
