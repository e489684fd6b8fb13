"""Which Tasks a run trains on and is evaluated on. Not here: which of them a step draws (trainer.py)."""

from pathlib import Path

from recall_env.errors import RecallError
from recall_env.packages import class_of, reference_of
from recall_env.taskset import TaskSet
from recall_env.tools import has_splits
from recall_train.config import Config


def training_tasks(config: Config) -> TaskSet:
    """Raises RecallError when the set cannot be opened, or nothing of it is left to begin with."""
    data = config.data
    tasks = TaskSet.load(data.dataset, data.split).select(families=data.families or None, max_calls=data.max_calls)
    if not len(tasks):
        raise RecallError(
            f"data: no task of {data.dataset!r} ({data.split}) is left after families = {list(data.families)} and "
            f"max_calls = {data.max_calls}"
        )
    if data.curriculum_steps and not len(tasks.select(max_calls=2)):
        raise RecallError("data.curriculum_steps: the curriculum begins at 2 calls, and every task here needs more")
    return tasks


def check_held_out(config: Config) -> None:
    """Raises RecallError when evaluation would play nothing, or what is trained on and call it held out."""
    data = config.data
    if not data.eval_splits:
        raise RecallError("data.eval_splits: expected at least one split; the result of a run is its held-out success")
    file = Path(data.dataset)
    if file.is_file():
        raise RecallError(
            f"data.dataset: {file} is one file, of which nothing is held out; name a folder with {file.stem}-train"
            f"{file.suffix} and {file.stem}-test{file.suffix}, and add --data.eval_splits '[\"test\"]'"
        )
    reference = None if file.exists() else reference_of(data.dataset)
    if reference is not None and not has_splits(class_of(reference)):
        raise RecallError(
            f"data.dataset: {data.dataset} has one set of tasks, of which nothing is held out; let its `tasks` name a "
            f"folder with {data.split}.jsonl and test.jsonl, and add --data.eval_splits '[\"test\"]'"
        )
    if data.split in data.eval_splits:
        raise RecallError(f"data.eval_splits: {data.split} is the split that is trained on (data.split)")


def eval_tasks(config: Config) -> dict[str, TaskSet]:
    """By split. Raises RecallError when one cannot be opened, or is empty."""
    splits = {split: TaskSet.load(config.data.dataset, split) for split in config.data.eval_splits}
    for split, tasks in splits.items():
        if not len(tasks):
            raise RecallError(f"data: {config.data.dataset!r} ({split}) holds no task")
    return splits
