"""Players: processes that play a task's gold solution, each under a hash seed of its own, and tell what they saw.

Run as `python -m recall_env.check.player JSON`: a task's row comes as a line on stdin, and a line with a digest and the
episode's parts goes back. It ends with its stdin.
"""

import contextlib
import hashlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from recall_env.agent import GoldAgent
from recall_env.dialect.base import Message
from recall_env.env import SynToolEnv
from recall_env.errors import RecallError, SandboxFailure
from recall_env.task import Task

HASH_SEEDS = ("0", "1", "4242")
MAX_CHARS = 2000  # of a part that goes back as it is; a longer one goes as its hash
START_TIMEOUT_S = 60.0  # on top of a task's own time: an interpreter and a jail start


def play_turns(env: SynToolEnv, turns: Sequence[str], seed: int) -> tuple[list[Any], float, list[dict[str, Any]]]:
    """An episode of the env's first task: (what reset and every step gave), the reward, the infos of the steps."""
    seen, infos, reward = [env.reset(seed=seed, options={"index": 0})], [], 0.0
    for turn in turns:
        step = env.step(turn)
        seen.append(step)
        _, reward, terminated, truncated, info = step
        infos.append(info)
        if terminated or truncated:
            break
    return seen, reward, infos


def gold_turns(env: SynToolEnv, task: Task) -> list[str]:
    agent = GoldAgent(task, 0, env.dialect)
    taken: list[Message] = []
    turns = []
    for _ in range(len(task.solution.calls) + 1):
        turns.append(agent.act(taken, None))
        taken.append({"role": "assistant", "content": turns[-1]})
    return turns


class Players:
    """One player per hash seed, started when first asked for."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """settings: of SynToolEnv: dialect, rubric, max_turns, sandbox, services."""
        self._settings = dict(settings)
        self._started: list[subprocess.Popen[bytes]] = []

    def play(self, task: Task, timeout_s: float) -> list[list[str]]:
        """What each player saw of one gold episode, part by part; the same lists when all saw the same.

        Raises SandboxFailure when one does not answer.
        """
        if not self._started:
            self._started = [self._start(seed) for seed in HASH_SEEDS]
        line = json.dumps(task.to_row()).encode() + b"\n"
        try:
            for player in self._started:
                player.stdin.write(line)
                player.stdin.flush()
            return [self._reply(player, timeout_s + START_TIMEOUT_S) for player in self._started]
        except (OSError, ValueError) as error:
            self.close()
            raise SandboxFailure(f"a process that plays the task broke: {error}") from error

    def close(self) -> None:
        for player in self._started:
            with contextlib.suppress(BrokenPipeError):
                player.stdin.close()
        for player in self._started:
            try:
                player.wait(5)
            except subprocess.TimeoutExpired:
                player.kill()
                player.wait()
            player.stdout.close()
        self._started = []

    def _start(self, hash_seed: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "recall_env.check.player", json.dumps(self._settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )

    def _reply(self, player: "subprocess.Popen[bytes]", timeout_s: float) -> list[str]:
        ready, _, _ = select.select([player.stdout], [], [], timeout_s)
        if not ready:
            raise OSError(f"no reply within {timeout_s:g} s")
        return json.loads(player.stdout.readline())


def main() -> None:
    from recall_env.sandbox import JailPool, UnsafePool
    from recall_env.taskset import TaskSet

    settings = json.loads(sys.argv[1])
    replies, sys.stdout = sys.stdout, sys.stderr  # whatever prints is not to be taken for a reply
    pool = JailPool(shards=1) if settings.pop("sandbox") == "nsjail" else UnsafePool()
    try:
        for line in sys.stdin:
            task = Task.from_row(json.loads(line))
            env = SynToolEnv(**settings, sandbox=pool, tasks=TaskSet([task]))
            try:
                seen, _, _ = play_turns(env, gold_turns(env, task), seed=7)
                parts = [json.dumps(part, default=repr) for part in seen]
            except RecallError as error:
                parts = [f"{type(error).__name__}: {error}"]
            finally:
                env.close()
            short = [part if len(part) <= MAX_CHARS else hashlib.sha256(part.encode()).hexdigest() for part in parts]
            replies.write(json.dumps(short) + "\n")
            replies.flush()
    finally:
        pool.close()


if __name__ == "__main__":
    main()
