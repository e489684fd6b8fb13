"""The environment is sound: its gold solutions are rewarded, doing nothing is not, Gymnasium's checker is content."""

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env
from my_tools import MyTools

from recall_env.agent import GoldAgent
from recall_env.evaluate import play

TASKS = MyTools.task_set()


@pytest.fixture
def env():
    env = gym.make(MyTools.id)
    yield env.unwrapped
    env.close()


@pytest.mark.parametrize("task", TASKS, ids=TASKS.ids)
def test_the_gold_solution_is_rewarded_and_doing_nothing_is_not(env, task):
    env.reset(seed=0, options={"id": task.id})
    _, infos, reward = play(env, GoldAgent(task), task, 0)
    assert infos[-1]["success"] and reward == 1.0
    env.reset(seed=0, options={"id": task.id})
    assert env.step("\\boxed{}")[1] < 1.0


@pytest.mark.filterwarnings("error")
def test_gymnasiums_checker_is_content(env):
    check_env(env)
