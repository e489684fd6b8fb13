"""What a person may name to be checked: an environment id, a file, a folder, a built-in set, a module."""

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import registry

from recall_env.errors import RecallError, TaskError
from recall_env.packages import find, one_of
from recall_env.registry import resolve
from recall_env.task import Task
from recall_env.taskset import TaskSet, built_in_names

NAMES = ("tasks", "TASKS")  # of a module: a TaskSet, Tasks, rows as dicts, or a function that gives them

_ID = re.compile(r"(?:[\w.-]+/)?[\w.-]+-v\d+")


def environments_of(target: str) -> list[str]:
    """Of a package, folder or file that holds several environments, their ids; of anything else, itself."""
    ids = find(target)
    return ids if len(ids) > 1 else [target]


def tasks_of(target: str, split: str | None = None) -> TaskSet:
    """The tasks that a target stands for.

    target: an environment id, a .parquet or .jsonl file or a folder of them, a built-in data set, a package or its
    folder, a Python file, or an installed module. What is Python is imported, in this process: it is its author's own
    word. ToolEnv classes go before the NAMES below.
    Raises RecallError: what was looked for, and the nearest name.
    """
    if (contributed := one_of(target)) is not None:
        return TaskSet.load(contributed, split)
    path = Path(target)
    if path.suffix == ".py":
        if not path.is_file():
            raise TaskError(f"no file {target!r}")
        return _tasks_in(_imported_file(path), split)
    if path.exists() or target in built_in_names():
        return TaskSet.load(target, split)
    if target in registry or target.startswith("ReCall/") or (_ID.fullmatch(target) and not path.suffix):
        return _tasks_of_id(target, split)
    if all(part.isidentifier() for part in target.split(".")) and _is_module(target):
        return _tasks_in(importlib.import_module(target), split)
    return TaskSet.load(target, split)  # which says what there is


def _tasks_of_id(target: str, split: str | None) -> TaskSet:
    spec = gym.spec(resolve(target))
    if spec.entry_point == "recall_env.env:SynToolEnv":
        named = {"dataset": "syntool", **spec.kwargs}
        tasks = TaskSet.load(named["dataset"], split or named.get("split"))
        return TaskSet([tasks.by_id(named["task_id"])], target) if "task_id" in named else tasks
    env = gym.make(target, disable_env_checker=True)
    try:
        tasks = getattr(env.unwrapped, "tasks", None)
        if not isinstance(tasks, TaskSet):
            raise RecallError(f"{target} is no environment of ReCall: it has no TaskSet under the name 'tasks'")
        return tasks
    finally:
        env.close()


def _tasks_in(module: ModuleType, split: str | None) -> TaskSet:
    found = next((getattr(module, name) for name in NAMES if hasattr(module, name)), None)
    if found is None:
        raise RecallError(f"{module.__name__} defines neither of {' and '.join(NAMES)}: a TaskSet, or a list of tasks")
    return as_tasks(found() if callable(found) else found, module.__name__, split)


def as_tasks(found: Any, name: str, split: str | None = None) -> TaskSet:
    """A TaskSet, Tasks, rows, or a path as `TaskSet.load` takes it, as a TaskSet."""
    if isinstance(found, TaskSet):
        return found
    if isinstance(found, str | Path):
        return TaskSet.load(found, split)
    if not isinstance(found, Iterable):
        raise RecallError(f"{name}: expected a TaskSet, or a list of Tasks or rows, got {type(found).__name__}")
    rows = enumerate(found)
    return TaskSet(
        [one if isinstance(one, Task) else Task.from_row(one, f"{name}, task {at}") for at, one in rows], name
    )


def _imported_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RecallError(f"{path.name} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
