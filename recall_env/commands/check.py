"""recall-env check: what is asked for, what is shown, and the exit code."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from recall_env.check.bench import Settings
from recall_env.check.checks import CHECKS, chosen
from recall_env.check.report import checks_table, finding_lines, summary
from recall_env.check.run import Report, check
from recall_env.check.targets import tasks_of
from recall_env.dialect import DIALECTS
from recall_env.errors import RecallError
from recall_env.nearest import did_you_mean, listed
from recall_env.packages import one_of, rubric_of
from recall_env.sandbox.broker import read_addresses
from recall_env.terminal import counted, say

Names = list[str] | None


def check_command(
    target: Annotated[
        str | None,
        typer.Argument(metavar="TARGET", help="environment id, .parquet, .jsonl, folder, built-in set, .py or module"),
    ] = None,
    split: Annotated[str | None, typer.Option(help="split of the set; default: all of it")] = None,
    n: Annotated[int | None, typer.Option("-n", help="tasks, evenly spaced; default: all", min=1)] = None,
    only: Annotated[Names, typer.Option(metavar="CHECK", help="only this check; repeat")] = None,
    skip: Annotated[Names, typer.Option(metavar="CHECK", help="not this check; repeat")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="warnings fail too")] = False,
    dialect: Annotated[str, typer.Option(help="hermes, submit, recall or recall-inference")] = "hermes",
    rubric: Annotated[str | None, typer.Option(help="answer, progress, recall or a file; default: its own")] = None,
    max_turns: Annotated[int, typer.Option(help="turns an episode may take", min=1)] = 10,
    sandbox: Annotated[str, typer.Option(help="nsjail, or unsafe: no jail at all")] = "nsjail",
    service: Annotated[Names, typer.Option(metavar="NAME=URL", help="where a service is that tasks name")] = None,
    seed: Annotated[int, typer.Option(help="of the constants that are changed")] = 0,
    budget_s: Annotated[float, typer.Option(help="seconds for all checks of one task", min=1)] = 60.0,
    jobs: Annotated[int | None, typer.Option(help="processes; default: one a core", min=1)] = None,
    output: Annotated[Path | None, typer.Option(help="write the JSON report to this file")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table")] = False,
    checks: Annotated[bool, typer.Option("--checks", help="list the checks, and what each proves")] = False,
) -> None:
    """Prove, without a model, that tasks are sound; exit 1 when one is not. Example: recall-env check mine.parquet"""
    if checks:
        _list_checks(as_json)
        return
    if target is None:
        raise RecallError("what is to be checked? an environment id, a file, a folder, a built-in set or a module")
    _known("dialect", dialect, DIALECTS)
    _known("sandbox", sandbox, ("nsjail", "unsafe"))
    if output is not None and not output.parent.is_dir():
        raise RecallError(f"--output: there is no folder {output.parent}")
    names = chosen(only or (), skip or ())
    services = read_addresses(service or [])
    tasks = tasks_of(target, split)
    rubric = rubric or one_of(target) or "answer"
    rubric_of(rubric)  # a name that is none is the person's mistake, not a task's
    settings = Settings(dialect, rubric, max_turns, sandbox, services, seed, budget_s)
    if not len(tasks):
        raise RecallError(f"{target} holds no task")
    tasks = tasks if n is None else tasks.spread(n)
    with counted("checked", len(tasks)) as advance:
        report = check(tasks, settings, target=target, names=names, jobs=jobs, on_task=lambda verdict: advance())
    _show(report, as_json, output)
    if not report.passes(strict):
        raise typer.Exit(1)


def _show(report: Report, as_json: bool, output: Path | None) -> None:
    if as_json:
        print(json.dumps(report.to_json(), indent=1, ensure_ascii=False))
    else:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else 160).print(checks_table(report))
        for line in finding_lines(report):
            print(line)
    say(summary(report))
    if output is not None:
        output.write_text(json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n")
        say(f"wrote {output}")


def _list_checks(as_json: bool) -> None:
    rows = [{"check": name, "severity": one.severity, "meaning": one.meaning} for name, one in CHECKS.items()]
    print(json.dumps(rows, indent=1) if as_json else "\n".join("\t".join(row.values()) for row in rows))


def _known(what: str, name: str, table: Iterable[str]) -> None:
    names = list(table)
    if name not in names:
        raise RecallError(f"no {what} {name!r}{did_you_mean(name, names) or '.'} There are: {listed(names)}")
