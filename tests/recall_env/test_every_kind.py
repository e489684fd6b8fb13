"""Every kind of id that can be registered, in every dialect: Gymnasium's checker, and every vector environment.

test_oldest_gymnasium.py runs it under Gymnasium 1.0.
"""

import sys
import warnings

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

from recall_env import TaskSet, register_tasks
from recall_env.agent import GoldAgent
from recall_env.dialect import DIALECTS
from recall_env.registry import SYNTOOL_ID, contribute, point_id
from recall_env.task import Task

LAMPS = """
from recall_env import ToolEnv, tool

class Lamps(ToolEnv, id="Contrib/Lamps-v0"):
    tasks = [{"question": "How many lamps are left when two are sold?", "ground_truth": "3", "state": 5,
              "solution": {"calls": [{"name": "sell", "arguments": {"count": 2}}], "answer": "3"}}]

    def setup(self, state):
        self.left = state

    @tool
    def sell(self, count: int) -> dict:
        '''Sell lamps.'''
        self.left -= count
        return {"left": self.left}
"""
KINDS = ("every task", "a data point", "a data point by its module", "a class", "an installed class")
VECTORS = {
    "ours": {},
    "sync": {"vectorization_mode": "sync"},
    "async": {"vectorization_mode": "async", "vector_kwargs": {"shared_memory": False}},
}


@pytest.fixture
def kinds(define, tasks_file, shared_jail, monkeypatch) -> dict[str, tuple[str, dict, Task]]:
    """Kind -> its id, the arguments it needs, the task that it then plays."""
    monkeypatch.delitem(sys.modules, "recall_env.points", raising=False)  # imported, it registers; that is taken back
    lamps = define(LAMPS, "lamps").Lamps
    contribute("Contrib/InstalledLamps-v0", "lamps:Lamps")
    register_tasks(TaskSet.load(tasks_file))
    shop, built_in = TaskSet.load(tasks_file)[1], TaskSet.load("syntool", "test")[0]
    return {
        "every task": (SYNTOOL_ID, {"dataset": str(tasks_file), "index": 1}, shop),
        "a data point": (point_id("shop-1"), {}, shop),
        "a data point by its module": (f"recall_env.points:{point_id(built_in.id)}", {}, built_in),
        "a class": ("Contrib/Lamps-v0", {}, lamps.task_set()[0]),
        "an installed class": ("Contrib/InstalledLamps-v0", {}, lamps.task_set()[0]),
    }


def gold_turns(task: Task, dialect: str) -> list[str]:
    agent = GoldAgent(task, 0, DIALECTS[dialect])
    turns = len(task.solution.calls) + 1
    return [agent.act([{"role": "assistant", "content": ""}] * taken, None) for taken in range(turns)]


@pytest.mark.parametrize("dialect", list(DIALECTS))
@pytest.mark.parametrize("kind", KINDS)
def test_gymnasiums_checker_is_content_and_gold_is_paid(kinds, kind, dialect):
    env_id, settings, task = kinds[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(env_id, dialect=dialect, render_mode="ansi", **settings)
        check_env(env.unwrapped)
        env.reset(seed=1)  # and what gym.make wraps it into is content too
        for turn in gold_turns(task, dialect):
            _, reward, terminated, truncated, info = env.step(turn)
        assert (reward, terminated, truncated) == (1.0, True, False), info
        env.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # Gymnasium forks
@pytest.mark.parametrize("dialect", list(DIALECTS))
@pytest.mark.parametrize("kind", ["every task", "a class"])
def test_every_vector_environment_plays_the_same(kinds, kind, dialect):
    env_id, settings, task = kinds[kind]
    played = {}
    for name, how in VECTORS.items():
        envs = gym.make_vec(env_id, num_envs=2, dialect=dialect, **how, **settings)
        observations, infos = envs.reset(seed=3)
        steps = [(observations, list(infos["seed"]), list(infos["task_id"]))]
        for turn in gold_turns(task, dialect):
            observations, rewards, terminations, truncations, infos = envs.step((turn, turn))
            steps.append((observations, *map(list, (rewards, terminations, truncations, infos["tool_calls"]))))
        assert (rewards.tolist(), terminations.tolist()) == ([1.0, 1.0], [True, True])
        played[name] = steps
        envs.close()
    assert played["ours"] == played["sync"] == played["async"]
    assert played["ours"][0][1][0] != played["ours"][0][1][1]  # each its own seed
