"""python -m envs_synthetic: generate, verify, stats. Data on stdout, words on stderr; exit 0 good, 1 found, 2 usage."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from envs_synthetic.build import SPLITS, Seen, build, cores, plan, processes, prove, write_parquet
from envs_synthetic.families import FAMILIES
from envs_synthetic.verify import Finding
from recall_env.errors import RecallError
from recall_env.nearest import did_you_mean, listed
from recall_env.taskset import TaskSet
from recall_env.terminal import counted, say

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)

File = Annotated[Path, typer.Argument(metavar="FILE", help=".parquet or .jsonl")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text")]
Jobs = Annotated[int | None, typer.Option(help="processes; default: one a core", min=1)]


@app.command("generate")
def generate_command(
    out: Annotated[Path, typer.Option(help="a .parquet or .jsonl file; without --split, a folder")],
    split: Annotated[str | None, typer.Option(help="train, test or test_families; default: all, with the card")] = None,
    n: Annotated[int | None, typer.Option(help="tasks; default: the split's own number", min=1)] = None,
    seed: Annotated[int, typer.Option(help="of everything", min=0)] = 0,
    family: Annotated[list[str] | None, typer.Option(help="only this family; may be repeated")] = None,
    calls: Annotated[str, typer.Option(help="calls of the gold solution, as LOW-HIGH")] = "2-8",
    jail: Annotated[bool, typer.Option(help="prove every task in the jail (else in this process)")] = True,
    jobs: Jobs = None,
) -> None:
    """Make tasks. Example: python -m envs_synthetic generate --split train --n 100 --seed 7 --out mine.parquet"""
    if split is None:
        if n is not None or family or calls != "2-8":
            raise RecallError("--n, --family and --calls need a --split")
        generate_all(out, seed, jail, jobs or cores())
        return
    if out.suffix not in (".parquet", ".jsonl"):
        raise RecallError(f"--out {out}: expected a .parquet or .jsonl file")
    slots = plan(*plan_of(split, n, seed, family, calls))
    with counted(split, len(slots)) as advance:
        tasks = list(build(slots, Seen(), jailed=jail, jobs=jobs or cores(), advance=advance))
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".parquet":
        write_parquet(tasks, out)
    else:
        out.write_text("".join(json.dumps(task.to_row(), ensure_ascii=False) + "\n" for task in tasks))
    say(f"{len(tasks)} tasks in {out}; next: python -m envs_synthetic stats {out}")


def plan_of(split: str, n: int | None, seed: int, family: list[str] | None, calls: str):
    """The arguments of `plan`, or a RecallError that says which option is wrong."""
    if split not in SPLITS:
        raise RecallError(f"no split {split!r}{did_you_mean(split, SPLITS) or '.'} There are: {listed(SPLITS)}")
    chosen = SPLITS[split]
    for name in family or ():
        if name not in FAMILIES:
            raise RecallError(f"no family {name!r}{did_you_mean(name, FAMILIES) or '.'} There are: {listed(FAMILIES)}")
        if name not in chosen.families:
            raise RecallError(f"family {name!r} is not in split {split!r}: {listed(chosen.families)}")
    low, dash, high = calls.partition("-")
    if not (dash and low.isdecimal() and high.isdecimal() and 2 <= int(low) <= int(high) <= 8):
        raise RecallError(f"--calls {calls}: expected LOW-HIGH inside 2-8, for example 2-4")
    families = tuple(family) if family else chosen.families
    return type(chosen)(chosen.n, families, chosen.held_out), n or chosen.n, seed, (int(low), int(high))


def generate_all(folder: Path, seed: int, jailed: bool, jobs: int) -> None:
    from envs_synthetic.card import write_card

    folder.mkdir(parents=True, exist_ok=True)
    seen, files = Seen(), []
    for name, split in SPLITS.items():
        slots = plan(split, split.n, seed, (2, 8))
        with counted(name, len(slots)) as advance:
            tasks = list(build(slots, seen, jailed=jailed, jobs=jobs, advance=advance))
        files.append(folder / f"syntool-{name}.parquet")
        write_parquet(tasks, files[-1])
    write_card(folder, files, seed)
    say(f"{', '.join(file.name for file in files)} and README.md in {folder}")


@app.command("verify")
def verify_command(
    file: File,
    apart_from: Annotated[
        list[Path] | None, typer.Option(help="a file it may share no source or question with")
    ] = None,
    jobs: Jobs = None,
    as_json: AsJson = False,
) -> None:
    """Prove every task of a file in the jail. Example: python -m envs_synthetic verify tasks.parquet --json"""
    tasks = TaskSet.load(file)
    shared = {other: Seen(TaskSet.load(other)) for other in apart_from or ()}
    found: list[dict[str, str]] = []
    seen = Seen()
    with (
        counted(file.name, len(tasks)) as advance,
        processes(jobs or cores()) as workers,
    ):
        for one in workers.map(prove, [file] * len(tasks), range(len(tasks)), chunksize=8):
            findings = list(one.findings)
            if not seen.add(set(one.keys)):
                findings.append(Finding("repeated", "its source or its question stands in the file before"))
            for other, theirs in shared.items():
                if theirs.keys & one.keys:
                    findings.append(Finding("shared", f"its source or its question stands in {other.name} too"))
            found += [{"id": one.id, "check": finding.check, "text": finding.text} for finding in findings]
            advance()
    bad = len({finding["id"] for finding in found})
    if as_json:
        print(json.dumps({"file": file.name, "tasks": len(tasks), "bad": bad, "findings": found}, indent=1))
    else:
        for finding in found:
            print(f"{finding['id']}: {finding['check']}: {finding['text']}")
    say(f"{len(tasks) - bad} of {len(tasks)} tasks are sound")
    if found:
        raise typer.Exit(1)


@app.command()
def stats(file: File, as_json: AsJson = False) -> None:
    """Counts by family and calls, and sizes. Example: python -m envs_synthetic stats tasks.parquet --json"""
    tasks = list(TaskSet.load(file))
    if not tasks:
        raise RecallError(f"{file.name} holds no task")
    sizes = {
        "tools": [len(task.schemas) for task in tasks],
        "question_words": [len(task.question.split()) for task in tasks],
        "schemas_chars": [len(json.dumps(list(task.schemas))) for task in tasks],
        "source_lines": [task.source.count("\n") for task in tasks],
    }
    counts = {
        "tasks": len(tasks),
        "families": dict(sorted(Counter(task.family for task in tasks).items())),
        "n_calls": dict(sorted(Counter(task.n_calls for task in tasks).items())),
        **{name: {"mean": round(sum(v) / len(v), 1), "max": max(v)} for name, v in sizes.items()},
    }
    if as_json:
        print(json.dumps(counts, indent=1))
        return
    for name, value in counts.items():
        shown = "  ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{name:15} {shown}")


def main() -> None:
    """Entry point: every fault a person can fix is one line on stderr and exit code 2."""
    name = "python -m envs_synthetic"
    try:
        code = app(standalone_mode=False, prog_name=name)
    except RecallError as error:
        say(f"{name}: {error}")
        code = 2
    except KeyboardInterrupt:
        say(f"{name}: stopped")
        code = 130
    except Exception as error:
        if not hasattr(error, "format_message"):  # a usage error; typer's classes moved between its versions
            raise
        say(f"{name}: {error.format_message()} (try --help)")
        code = 2
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
