"""The environment is sound: `recall-env check` proves it without a model, and Gymnasium's checker is content."""

import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env
from my_tools import MyTools

FOLDER = Path(__file__).parent.parent


def test_every_task_is_sound():
    command = [sys.executable, "-m", "recall_env", "check", str(FOLDER)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.filterwarnings("error")
def test_gymnasiums_checker_is_content():
    env = gym.make(MyTools.id).unwrapped
    check_env(env)
    env.close()
