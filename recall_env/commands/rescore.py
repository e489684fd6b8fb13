"""recall-env rescore: stored episodes under another rubric."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from recall_env.commands.choices import set_of
from recall_env.commands.options import AsJson, Elsewhere, EpisodeFile, Split
from recall_env.packages import rubric_of
from recall_env.rescore import rescore_file
from recall_env.terminal import inert, say


def rescore_episodes(
    file: EpisodeFile,
    rubric: Annotated[str | None, typer.Option(help="as in eval; default: the one it was played under")] = None,
    dataset: Elsewhere = None,
    split: Split = None,
    ask: Annotated[str, typer.Option(help="judges for verdicts: never, missing (not in the file) or anew")] = "never",
    as_json: AsJson = False,
) -> None:
    """Old and new reward of stored episodes. Example: recall-env rescore result.jsonl --rubric progress"""
    where = {"dataset": set_of(dataset), "split": split}  # first: it may bring the parts of a rubric
    chosen = None if rubric is None else rubric_of(rubric)
    old = new = 0.0
    changed = count = scored = faults = others = 0
    names: dict[str, float] = {}
    for one in rescore_file(file, chosen, **where, ask=ask):
        if as_json:
            print(json.dumps(asdict(one)), flush=True)
        else:
            if not count + faults:
                print(f"{'line':>6}  {'old':>8}  {'new':>8}  {'status':<10}  task")
            shown = f"{one.new:>8.4g}" if one.new is not None else f"{'-':>8}"
            print(inert(f"{one.line:>6}  {one.old:>8.4g}  {shown}  {one.status:<10}  {one.task_id}"))
        others += one.changed_task
        if one.new is None:
            faults += 1
            say(f"line {one.line}: {one.fault}")
            continue
        old, new, count = old + one.old, new + one.new, count + 1
        changed, scored = changed + (one.old != one.new), scored + bool(one.values)
        for name, value in one.values.items():
            names[name] = names.get(name, 0.0) + value
    each = max(1, count)
    say(f"{count} episodes: mean reward {old / each:.4f} -> {new / each:.4f}; {changed} changed, {faults} not scored")
    if others:
        say(f"{others} episodes are of tasks that have changed since; they were scored by what these say now")
    say(
        f"mean of each part over the {scored} that a rubric scores: "
        + ", ".join(f"{name} {value / scored:.4f}" for name, value in names.items())
    )
    if faults:
        raise typer.Exit(1)
