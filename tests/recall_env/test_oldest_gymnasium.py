"""The environments under the oldest Gymnasium that pyproject.toml allows; every other run has the newest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = (
    *("test_contract.py", "test_env.py", "test_every_kind.py", "test_registry.py", "test_tools.py"),
    *("test_vector.py", "test_vector_env.py"),
)


@pytest.mark.slow
def test_the_environments_work_with_gymnasium_1_0(tmp_path):
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path)]
    subprocess.run([*install, "gymnasium==1.0.0"], check=True)
    settings = {**os.environ, "PYTHONPATH": str(tmp_path)}
    shown = [sys.executable, "-c", "import gymnasium; print(gymnasium.__version__)"]
    assert subprocess.run(shown, env=settings, capture_output=True, text=True, check=True).stdout.strip() == "1.0.0"
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *(str(TESTS / file) for file in FILES)]
    done = subprocess.run(command, cwd=TESTS.parent.parent, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
