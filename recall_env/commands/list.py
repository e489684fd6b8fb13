"""recall-env list: the data sets and environments there are, or the tasks of one."""

import json
import re
import sys
from typing import Annotated, Any

import typer

from recall_env.check.targets import environments_of, tasks_of
from recall_env.commands.options import AsJson, Split
from recall_env.errors import RecallError, TaskError
from recall_env.nearest import did_you_mean, listed
from recall_env.packages import installed, loaded
from recall_env.registry import SYNTOOL_ID
from recall_env.task import Task
from recall_env.taskset import TaskSet, built_in_names
from recall_env.terminal import inert, say, task_line

Row = dict[str, Any]
Names = list[str] | None


def list_tasks(
    dataset: Annotated[
        str | None,
        typer.Argument(help="data set, file, folder, package or environment id; default: the sets there are"),
    ] = None,
    split: Split = None,
    family: Annotated[Names, typer.Option(help="only tasks of this family; repeat")] = None,
    difficulty: Annotated[Names, typer.Option(help="only tasks of this difficulty; repeat")] = None,
    calls: Annotated[
        str | None, typer.Option(metavar="N or LOW-HIGH", help="only tasks that need so many calls")
    ] = None,
    grep: Annotated[
        str | None, typer.Option(metavar="TEXT", help="only tasks with it in their id, question or a tool's name")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The built-in datasets, or the tasks of one. Example: recall-env list syntool --split test --calls 2-3"""
    filters = {"split": split, "family": family, "difficulty": difficulty, "calls": calls, "grep": grep}
    if dataset is None:
        for option, value in filters.items():
            if value is not None:
                raise RecallError(f"--{option}: of which data set? recall-env list syntool --{option} ...")
        rows = [{"id": SYNTOOL_ID, "dataset": name, "tasks": len(TaskSet.load(name))} for name in built_in_names()]
        _show({"": rows + _contributed()}, as_json)
        return
    chosen = _Filter({"family": family, "difficulty": difficulty}, _range(calls) if calls else None, grep)
    names = environments_of(dataset)
    rows = {name: [task_line(task) for task in tasks_of(name, split) if chosen.takes(task)] for name in names}
    chosen.check()
    _show(rows, as_json)
    if sys.stdout.isatty() and not as_json:
        say(f"{sum(map(len, rows.values()))} of {chosen.seen} tasks")


class _Filter:
    """Takes tasks one by one, for a set may be larger than memory. What no task has is told at the end."""

    def __init__(self, wanted: dict[str, Names], calls: range | None, text: str | None):
        """wanted: field of a Task -> its values, as text."""
        self._wanted = {field: values for field, values in wanted.items() if values}
        self._calls, self._text = calls, (text or "").casefold()
        self._known: dict[str, set[str]] = {field: set() for field in self._wanted}
        self.seen = 0

    def takes(self, task: Task) -> bool:
        self.seen += 1
        values = {field: str(getattr(task, field)) for field in self._wanted if getattr(task, field) is not None}
        for field, value in values.items():
            self._known[field].add(value)
        words = "\n".join([task.id, task.question, *task.tool_names]).casefold()
        return (
            all(values.get(field) in wanted for field, wanted in self._wanted.items())
            and (self._calls is None or task.calls_needed in self._calls)
            and self._text in words
        )

    def check(self) -> None:
        """Raise TaskError for a wanted value that no task has."""
        for field, wanted in self._wanted.items():
            known = sorted(self._known[field])
            for value in wanted:
                if value not in known:
                    hint = did_you_mean(value, known) or "."
                    raise TaskError(f"no {field} {value!r}{hint} There are: {listed(known)}")


def _range(calls: str) -> range:
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", calls)
    if found is None or int(found[1]) > int(found[2] or found[1]):
        raise RecallError(f"--calls: expected a number or LOW-HIGH, as in 2-4, got {calls!r}")
    return range(int(found[1]), int(found[2] or found[1]) + 1)


def _contributed() -> list[Row]:
    """A line for each environment of an installed package; what is broken is said, and leaves the others alone."""
    rows = []
    for offer in installed():
        try:
            rows.append({"id": offer.id, "dataset": offer.package, "tasks": len(loaded(offer))})
        except RecallError as error:
            say(f"recall-env: {error}")
    return rows


def _show(sets: dict[str, list[Row]], as_json: bool) -> None:
    """Of several environments, each row says whose it is."""
    several = len(sets) > 1
    rows = [{"environment": name, **row} if several else row for name, rows in sets.items() for row in rows]
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    elif sys.stdout.isatty():
        _show_tables(sets)
    else:
        for row in rows:
            print("\t".join(_cell(value) for value in row.values()))


def _show_tables(sets: dict[str, list[Row]]) -> None:
    from recall_env.commands.screen import Screen  # rich is heavy

    screen = Screen()
    for name, rows in sets.items():
        if len(sets) > 1:
            screen.heading(f"{name}, {len(rows)}", "blue")
        if rows:
            cells = [[_cell(value) for value in row.values()] for row in rows]
            screen.table([list(rows[0]), *cells], last_wraps="question" in rows[0])


def _cell(value: Any) -> str:
    return "-" if value is None else inert(" ".join(str(value).split()))
