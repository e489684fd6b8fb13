"""The real command line in a process of its own, on the CPU, as a person would start it."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from recall_env.task import Solution, Task
from recall_env.tool_call import ToolCall

Start = Callable[..., subprocess.Popen]


def start(
    words: list[str], folder: Path, *, env: Mapping[str, str] = MappingProxyType({}), before: str = ""
) -> subprocess.Popen:
    """`python -m recall_train WORDS` in `folder`; `before` is Python that runs first, in the same process."""
    program = ["-m", "recall_train", *words]
    if before:
        main = "import sys\nfrom recall_train.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"
        program = ["-c", before + main, *words]
    # No GPU: only the CPU promises the same bits. One thread: tests of one machine run beside each other.
    fixed = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [sys.executable, *program], cwd=folder, env={**os.environ, **fixed, **env},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture(scope="session")
def start_command() -> Start:
    return start


@pytest.fixture(scope="session")
def shop_tasks() -> list[Task]:
    """Two data points that nothing is wrong with."""
    schema = {"type": "function", "function": {"name": "price", "description": "Price.", "parameters": {}}}
    solution = Solution((ToolCall("price", {}),), "12")
    return [
        Task(f"shop-{n}", "What does it cost?", "def price(): return 12", (schema,), ("12",), solution, n_calls=1)
        for n in range(2)
    ]
