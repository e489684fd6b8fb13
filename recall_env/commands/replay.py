"""recall-env replay: stored episodes once more, and where they differ."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from recall_env.commands.choices import set_of
from recall_env.commands.options import AsJson, Elsewhere, EpisodeFile, Sandbox, Services, Split
from recall_env.replay import Replayed, replay_file
from recall_env.sandbox.broker import read_addresses
from recall_env.terminal import inert, say


def replay_episodes(
    file: EpisodeFile,
    index: Annotated[int | None, typer.Option(help="only this episode, from 0; default: all", min=0)] = None,
    dataset: Elsewhere = None,
    split: Split = None,
    sandbox: Sandbox = "nsjail",
    service: Services = None,
    as_json: AsJson = False,
) -> None:
    """Play stored episodes again; show the first byte that differs, exit 1. Example: recall-env replay result.jsonl"""
    counts = {"equal": 0, "differs": 0, "void": 0}
    said: set[str] = set()
    where = {"index": index, "dataset": set_of(dataset), "split": split, "sandbox": sandbox}
    for one in replay_file(file, **where, services=read_addresses(service or [])):
        counts[one.outcome] += 1
        for note in one.notes:
            if note not in said:
                said.add(note)
                say(note)
        if as_json:
            print(json.dumps(asdict(one)), flush=True)
        elif one.outcome == "differs":
            print(inert(_in_words(file, one)), flush=True)
    say(f"{counts['equal']} equal, {counts['differs']} differ, {counts['void']} void and not replayed")
    if counts["differs"]:
        raise typer.Exit(1)


def _in_words(file: Path, one: Replayed) -> str:
    lines = [f"{file.name} line {one.line}: task {one.task_id}, seed {one.env_seed}"]
    if one.changed_task is not None:
        lines.append(f"  the task has changed since: its content is now {one.changed_task[:16]}")
    found = one.difference
    if found is None:
        lines.append("  nothing that happened differs")
    else:
        where = f"turn {found.turn}" if found.turn else "reset"
        at = "" if found.byte is None else f", byte {found.byte}"
        lines.append(f"  differs at {where}, {found.field}{at}")
        for side, text in (("stored  ", found.stored), ("replayed", found.replayed)):
            lines.append(f"    {side}  {'(nothing)' if text is None else text}")
    return "\n".join(lines)
