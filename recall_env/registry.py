"""Environment ids: `ReCall/SynTool-v0`, and one per data point, `ReCall/SynTool.<task-id>-v0`.

Gymnasium has no plugin loading and `gym.register` scans all ids each time (10,000 of them: seconds), so the ids of
data points are put into its registry directly, in bulk, and those of built-in sets only when one is asked for: by
`resolve`, or by Gymnasium's own "module:id" form, `gym.make("recall_env.points:ReCall/SynTool.<task-id>-v0")`.
"""

import hashlib
import re
from typing import TYPE_CHECKING

from gymnasium.envs.registration import EnvSpec, registry

from recall_env.errors import RecallError
from recall_env.nearest import did_you_mean

if TYPE_CHECKING:
    from recall_env.taskset import TaskSet

__all__ = ["SYNTOOL_ID", "contribute", "point_id", "register", "register_built_in", "register_tasks", "resolve"]

SYNTOOL_ID = "ReCall/SynTool-v0"  # of every task: the data set and the task are arguments of `gym.make`

ENTRY_POINT = "recall_env.env:SynToolEnv"
_VECTOR_ENTRY_POINT = "recall_env.vector_env:SynToolVectorEnv"  # what gym.make_vec takes unless told otherwise
_POINT = re.compile(r"ReCall/SynTool\.(?P<slug>.+)-v0")
_ILLEGAL = re.compile(r"[^\w.-]")


def register() -> None:
    """Make `ReCall/SynTool-v0` known to Gymnasium. Done when recall_env is imported."""
    if SYNTOOL_ID not in registry:
        registry[SYNTOOL_ID] = _spec(SYNTOOL_ID, {})


def point_id(task_id: str) -> str:
    """The environment id of a data point. Letters an id may not hold become "_", and a short hash keeps two apart."""
    slug = _ILLEGAL.sub("_", task_id)
    if slug != task_id:
        slug += "." + hashlib.sha256(task_id.encode()).hexdigest()[:8]
    return f"ReCall/SynTool.{slug}-v0"


def register_tasks(tasks: "TaskSet") -> list[str]:
    """Give each task of a loaded set its own environment id; returns the ids, in order.

    No task is read: the environment loads its own when it is reset. Registering a set again changes nothing.
    Raises RecallError when the set was built in memory: an id must mean something in another process too.
    """
    if tasks.dataset is None:
        raise RecallError("only a TaskSet that was loaded by name or path has ids; save it to a file and load that")
    where = {"dataset": tasks.dataset, "split": tasks.split}
    ids = []
    for task_id in tasks.ids:
        env_id = point_id(task_id)
        ids.append(env_id)
        registry[env_id] = _spec(env_id, {**where, "task_id": task_id})
    return ids


def register_built_in() -> None:
    """Give every task of the sets that installed packages ship its own id."""
    from recall_env.taskset import TaskSet, built_in_names

    for name in built_in_names():
        register_tasks(TaskSet.load(name))


def contribute(env_id: str, reference: str) -> None:
    """Make the environment of a class known: "module:Class" is where its tasks and its rubric come from."""
    registry[env_id] = _spec(env_id, {"dataset": reference, "rubric": reference})


def _spec(env_id: str, kwargs: dict[str, str | None]) -> EnvSpec:
    return EnvSpec(env_id, entry_point=ENTRY_POINT, vector_entry_point=_VECTOR_ENTRY_POINT, kwargs=kwargs)


def resolve(env_id: str) -> str:
    """An id that `gym.make` knows; a data point of a built-in set is registered first if need be.

    Raises RecallError with the nearest id.
    """
    if env_id not in registry and _POINT.fullmatch(env_id):
        register_built_in()
    if env_id not in registry:
        ours = [known for known, spec in registry.items() if spec.entry_point == ENTRY_POINT]
        raise RecallError(f"no environment {env_id!r}{did_you_mean(env_id, ours)}")
    return env_id
