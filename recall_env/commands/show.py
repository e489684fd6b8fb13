"""recall-env show: one data point, as its author wrote it."""

import json
from typing import Annotated, Any

import typer

from recall_env.commands.choices import tasks_named
from recall_env.commands.options import AsJson, Dataset, Split, Target
from recall_env.errors import RecallError
from recall_env.terminal import task_line


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
    if not len(tasks):
        raise RecallError(f"{target} holds no task")
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
    else:
        _show(fields)


def _show(fields: dict[str, Any]) -> None:
    from recall_env.commands.episode_screen import call_text  # rich is heavy
    from recall_env.commands.screen import Screen, signature_text, styled

    screen = Screen()
    lists = {"tools": signature_text, "solution": call_text}
    for key, value in fields.items():
        name = styled(f"{key}:", "bold blue")
        if key in lists:
            screen.write(name)
            for item in value:
                screen.write(lists[key](item), indent=2, hang=4)
        elif key == "source":
            screen.write(name)
            screen.python(value)
        elif value is not None:
            words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            screen.write(name.append(" ").append_text(styled(words)), hang=2)
