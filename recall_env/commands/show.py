"""recall-env show: one data point, as its author wrote it."""

import json
from typing import Annotated, Any

import typer

from recall_env.commands.choices import tasks_named
from recall_env.commands.options import AsJson, Dataset, Split, Target
from recall_env.terminal import signature, task_line


def show(
    target: Target,
    dataset: Dataset = "syntool",
    split: Split = None,
    source: Annotated[bool, typer.Option("--source", help="also the Python of the tools")] = False,
    truth: Annotated[bool, typer.Option("--truth", help="also the accepted answers and the gold solution")] = False,
    as_json: AsJson = False,
) -> None:
    """One data point: its question and tools. Example: recall-env show ReCall/SynTool.TASK-v0 --source --truth"""
    tasks, chosen = tasks_named(target, dataset, split)
    task = tasks.by_id(chosen) if chosen is not None else tasks[0]
    fields: dict[str, Any] = {**task_line(task), "tools": list(task.schemas)}
    if source:
        fields["source"] = task.source
    if truth:
        fields["ground_truth"] = list(task.ground_truth)
        calls = task.solution.calls if task.solution is not None else ()
        fields["solution"] = [{"name": call.name, "arguments": call.arguments} for call in calls]
    if as_json:
        print(json.dumps(fields, indent=1, ensure_ascii=False))
        return
    for key, value in fields.items():
        if key == "tools":
            value = "".join(f"\n  {signature(schema)}" for schema in value)
        elif key == "source":
            value = "\n" + value
        print(f"{key}: {value}")
