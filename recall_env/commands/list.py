"""recall-env list: the data sets there are, or the tasks of one."""

import json
from typing import Annotated, Any

import typer

from recall_env.commands.options import AsJson, Split
from recall_env.errors import RecallError
from recall_env.packages import installed, loaded
from recall_env.registry import SYNTOOL_ID
from recall_env.taskset import TaskSet, built_in_names
from recall_env.terminal import say, task_line


def list_tasks(
    dataset: Annotated[str | None, typer.Argument(help="dataset to list the tasks of; default: the datasets")] = None,
    split: Split = None,
    family: Annotated[list[str] | None, typer.Option(help="only tasks of this family; may be repeated")] = None,
    as_json: AsJson = False,
) -> None:
    """The built-in datasets, or the tasks of one. Example: recall-env list syntool --split test --json"""
    if dataset is None:
        rows = [{"id": SYNTOOL_ID, "dataset": name, "tasks": len(TaskSet.load(name))} for name in built_in_names()]
        rows += _contributed()
    else:
        tasks = TaskSet.load(dataset, split).select(families=family)
        rows = [task_line(task) for task in tasks]
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    for row in rows:
        print("\t".join("-" if value is None else " ".join(str(value).split()) for value in row.values()))


def _contributed() -> list[dict[str, Any]]:
    """A line for each environment of an installed package; what is broken is said, and leaves the others alone."""
    rows = []
    for offer in installed():
        try:
            rows.append({"id": offer.id, "dataset": offer.package, "tasks": len(loaded(offer))})
        except RecallError as error:
            say(f"recall-env: {error}")
    return rows
