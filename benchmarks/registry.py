"""python -m benchmarks.registry [--points 10000]: what an id of one's own costs each data point.

In processor time, the best of a few rounds: register_tasks, the same ids one by one through gym.register (which looks
at every id there is, each time), and gym.make of one among all of them, before its first reset. JSON on stdout; exit 1
when the registering or the making misses its goal.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
from gymnasium.envs.registration import registry

from recall_env import TaskSet, register_tasks

ROUNDS = 5
REGISTER_10K_S, MAKE_S = 0.1, 0.005  # the goals, the first for 10,000 points


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.registry",
        description="Time the registering of data points against a loop of gym.register.",
        epilog="example: python -m benchmarks.registry --points 2000",
    )
    parser.add_argument("--points", type=int, default=10_000, help="ids to register")
    measured = measure(parser.parse_args(words).points)
    print(json.dumps(measured, indent=1))
    met = measured["register_s"] <= REGISTER_10K_S * measured["points"] / 10_000 and measured["make_s"] <= MAKE_S
    print("goals met" if met else "a goal was missed", file=sys.stderr)
    return 0 if met else 1


def measure(points: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        tasks = TaskSet.load(_rows(Path(folder), points))
        ids = register_tasks(tasks)  # reads the ids of the file
        specs = [registry[env_id] for env_id in ids]
        register_s = _best(lambda: register_tasks(tasks))
        make_s = _best(lambda: gym.make(ids[points // 2]))
        for env_id in ids:
            del registry[env_id]
        loop_s = _best(lambda: _one_by_one(specs), rounds=1)
        for env_id in ids:
            registry.pop(env_id, None)
    return {
        "points": points,
        "register_s": register_s,
        "loop_of_gym_register_s": loop_s,
        "times_faster": round(loop_s / register_s, 1),
        "make_s": make_s,
    }


def _rows(folder: Path, points: int) -> Path:
    info = {"env": "def f():\n    return 1\n", "func_schemas": '[{"name": "f"}]'}
    row = {"question": "q", "reward_model": {"style": "rule", "ground_truth": "1"}}
    lines = (json.dumps({**row, "extra_info": {**info, "id": f"point-{number}"}}) for number in range(points))
    path = folder / "points.jsonl"
    path.write_text("\n".join(lines))
    return path


def _one_by_one(specs: list) -> None:
    for spec in specs:
        gym.register(spec.id, entry_point=spec.entry_point, kwargs=spec.kwargs)


def _best(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


if __name__ == "__main__":
    sys.exit(main())
