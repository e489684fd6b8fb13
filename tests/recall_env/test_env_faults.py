"""When our own part breaks: the episode is replayed once in a new jail, and past that it is void, not lost."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from recall_env.env import SynToolEnv
from recall_env.errors import SandboxFailure, SandboxUnavailable
from recall_env.sandbox import JailPool


def call(name, **arguments):
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


class Breaking:
    """A real pool whose wire breaks at the calls with these numbers (0 is the first call of all sessions)."""

    def __init__(self, pool, at=(), opens=()):
        self.pool, self.at, self.opens, self.calls, self.opened = pool, set(at), set(opens), 0, 0

    def open(self, source, **settings):
        number, self.opened = self.opened, self.opened + 1
        if number in self.opens:
            raise SandboxFailure("no jail came up")
        return BreakingSession(self, self.pool.open(source, **settings))

    def close(self):
        self.pool.close()


class BreakingSession:
    def __init__(self, owner, session):
        self.owner, self.session = owner, session

    def call(self, name, arguments):
        number, self.owner.calls = self.owner.calls, self.owner.calls + 1
        if number in self.owner.at:
            raise SandboxFailure("the wire broke")
        return self.session.call(name, arguments)

    def close(self):
        self.session.close()


def play(pool, tasks, actions):
    env = SynToolEnv(tasks=tasks, sandbox=pool)
    try:
        env.reset(seed=4)
        return [env.step(action) for action in actions], env.telemetry()
    finally:
        env.close()


ACTIONS = [call("add", item="lamp") + call("draw"), call("add", item="lamp"), call("total"), "\\boxed{25}"]


def test_one_broken_call_is_replayed_and_nobody_can_tell(jail, tasks):
    whole, _ = play(jail, tasks, ACTIONS)
    mended, telemetry = play(Breaking(jail, at=[3]), tasks, ACTIONS)
    assert json.dumps(mended) == json.dumps(whole)
    assert telemetry["infra_retries"] == 1 and len(telemetry["open_s"]) == 2


def test_a_jail_that_does_not_open_at_first_is_tried_again(jail, tasks):
    steps, telemetry = play(Breaking(jail, opens=[0]), tasks, ACTIONS)
    assert steps[-1][1] == 1.0 and telemetry["infra_retries"] == 1


@pytest.mark.parametrize("broken", [{"at": [2, 3]}, {"at": [2, 4]}, {"at": [2, 5]}, {"at": [2], "opens": [1]}])
def test_a_jail_that_breaks_twice_voids_the_episode_and_shows_the_model_nothing(jail, tasks, broken):
    """Calls 3, 4 are the replay of what was done before call 2 broke; 5 is that call again."""
    steps, _ = play(Breaking(jail, **broken), tasks, ACTIONS[:2])
    observation, reward, terminated, truncated, info = steps[1]
    assert (observation, reward, terminated, truncated) == ("", 0.0, False, True)
    assert info["valid"] is False and info["failure"] == "infra" and info["termination"] == "infra"
    assert info["messages"] == [] and info["success"] is False and info["score"]["total"] == 0.0
    assert info["tool_calls"][-1]["status"] == "sandbox_failure"


def test_a_replay_that_answers_differently_voids_the_episode(jail, tasks):
    class Forgetful(Breaking):
        """Opens its second session with another seed: a jail that does not repeat itself."""

        def open(self, source, **settings):
            return super().open(source, **{**settings, "seed": settings["seed"] + self.opened})

    steps, _ = play(Forgetful(jail, at=[2]), tasks, [call("draw"), call("draw"), call("draw")])
    assert steps[2][4]["valid"] is False
    assert "answered differently when replayed" in steps[2][4]["tool_calls"][0]["error"]["message"]


def test_the_death_of_the_jails_process_is_mended(tasks):
    pool = JailPool(shards=1)
    try:
        env = SynToolEnv(tasks=tasks, sandbox=pool)
        env.reset(seed=4)
        others = _jails()
        env.step(ACTIONS[0])
        _kill(_jails() - others)
        assert env.step(ACTIONS[1])[4]["valid"] is True
        assert env.step(ACTIONS[2])[4]["tool_calls"][0]["value"] == 25
        assert env.telemetry()["infra_retries"] == 1
        env.close()
    finally:
        pool.close()


def test_a_machine_without_jails_is_told_to_the_person_and_not_trained_on(tasks):
    class NoJail:
        def open(self, source, **settings):
            raise SandboxUnavailable("no user namespaces; run `recall-env doctor`")

    env = SynToolEnv(tasks=tasks, sandbox=NoJail())
    env.reset(seed=0)
    with pytest.raises(SandboxUnavailable, match="recall-env doctor"):
        env.step(call("total"))


def _jails() -> set[int]:
    return {pid for pid in _children(os.getpid()) if "nsjail" in Path(f"/proc/{pid}/comm").read_text()}


def _kill(jails: set[int]) -> None:
    """Kill one jail: its nsjail, and the first process in it, with which the others end; wait until they have."""
    (jail,) = jails
    doomed = [*_children(jail), jail]
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    while any(_runs(pid) for pid in doomed):
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]
