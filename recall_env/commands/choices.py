"""What the words of a command line stand for: tasks, an agent, a rubric, a data set, a file to write."""

from pathlib import Path

import gymnasium as gym

from recall_env.agent import AGENTS, ChatAgent
from recall_env.dialect import DIALECTS
from recall_env.errors import RecallError
from recall_env.nearest import did_you_mean, listed
from recall_env.packages import one_of
from recall_env.registry import SYNTOOL_ID, point_id, resolve
from recall_env.taskset import TaskSet


def tasks_named(target: str, dataset: str, split: str | None) -> tuple[TaskSet, str | None]:
    """The tasks an id stands for, and the one task's id when it is a data point's."""
    if target == SYNTOOL_ID:
        return TaskSet.load(dataset, split), None
    if (contributed := one_of(target)) is not None:
        return TaskSet.load(contributed, split), None
    tasks = TaskSet.load(dataset, split)
    for task_id in tasks.ids:
        if point_id(task_id) == target:
            return tasks, task_id
    named = gym.spec(resolve(target)).kwargs
    if "task_id" not in named:
        raise RecallError(f"{target} is no environment of ReCall")
    return TaskSet.load(named["dataset"], named["split"]), named["task_id"]


def rubric_name(target: str) -> str:
    """What an environment is scored by when nobody says otherwise."""
    return one_of(target) or "answer"


def set_of(dataset: str | None) -> str | None:
    """A data set by its name or path; of a package's folder or a Python file, the one that is in it."""
    return dataset and (one_of(dataset) or dataset)


def check_folder(output: Path | None) -> None:
    if output is not None and not output.parent.is_dir():
        raise RecallError(f"--output: there is no folder {output.parent}")


def agent_of(kind: str, endpoint: tuple[str | None, str | None, str | None, float, int], dialect: str, *others: str):
    if kind in AGENTS:
        return AGENTS[kind]
    if kind != "model":
        kinds = [*AGENTS, *others, "model"]
        raise RecallError(f"no agent {kind!r}{did_you_mean(kind, kinds) or '.'} There are: {listed(kinds)}")
    base_url, model, api_key, temperature, max_tokens = endpoint
    if base_url is None or model is None:
        raise RecallError("a model is played with --base-url URL and --model NAME")
    native = dialect in DIALECTS and DIALECTS[dialect].takes_messages  # a name that is none is refused by the env
    sampling = {"temperature": temperature, "max_tokens": max_tokens}
    agent = ChatAgent(base_url, model, api_key=api_key, **sampling, native_calls=native)
    agent.check()
    return lambda task, seed, dialect: agent
