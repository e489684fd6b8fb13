"""card: the dataset card beside shipped data, every number of which is counted from the files."""

from collections import Counter
from pathlib import Path

import pyarrow
import pyarrow.parquet

from recall_env.taskset import TaskSet

CALLS = range(2, 9)

TEXT = """\
---
license: apache-2.0
task_categories: [question-answering, reinforcement-learning]
tags: [tool-use, synthetic, reinforcement-learning]
---

# SynTool, procedural

Questions that are answered by calling tools. Every task brings its own Python tools, made from a seed: names,
signatures, result shapes, the way the data are held and the code paths differ from task to task. No language model
wrote any of it. A row is a row of ReCall's Parquet; `extra_info` also has `solution` (the gold calls, and where the
answer stands in the last result), `state`, `family`, `n_calls`.

Nothing has to be worked out in the head: every argument is copied from the question or an earlier result, and the
answer stands in the last result.

## Splits

{splits}

- `train` and `test`: the same six families. `test` draws its names so that no two names of one kind that meet in a
  task have met in a task of `train`; no source and no question is shared.
- `test_families`: two families that `train` does not know.

## Tasks by family and number of gold calls

{counts}

## What each task has proved, in the jail

{checks}

## Rebuild

    {command}

gives the same bytes on any machine with pyarrow {pyarrow} (another version may store the same rows in other bytes).
`python -m envs_synthetic verify {first} --json` proves them again.

Licence: Apache-2.0.
"""


def write_card(folder: Path, files: list[Path], seed: int) -> None:
    from envs_synthetic.verify import CHECKS

    text = TEXT.format(
        splits=table([("file", "tasks", "bytes"), *((f.name, len(TaskSet.load(f)), f.stat().st_size) for f in files)]),
        counts="\n\n".join(f"`{file.name}`\n\n{counts(file)}" for file in files),
        checks="\n".join(f"- `{name}`: {check.__doc__}" for name, check in CHECKS.items()),
        command=f"python -m envs_synthetic generate --seed {seed} --out envs_synthetic/data",
        pyarrow=pyarrow.__version__,
        first=f"envs_synthetic/data/{files[0].name}",
    )
    (folder / "README.md").write_text(text)


def counts(file: Path) -> str:
    found = Counter((task.family, task.n_calls) for task in TaskSet.load(file))
    families = sorted({family for family, _ in found})
    rows = [("family", *(f"{n} calls" for n in CALLS), "all")]
    for family in families:
        per_call = [found[family, n] for n in CALLS]
        rows.append((family, *per_call, sum(per_call)))
    totals = [sum(found[family, n] for family in families) for n in CALLS]
    return table([*rows, ("all", *totals, sum(totals))])


def table(rows: list[tuple]) -> str:
    head, *body = [[str(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *body])
