"""recall-env check: what is asked for, what is shown, and the exit code."""

import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from recall_env.check.bench import Settings
from recall_env.check.checks import CHECKS, chosen
from recall_env.check.report import checks_table, finding_lines, summary
from recall_env.check.run import FORM, Report, check
from recall_env.check.targets import environments_of, tasks_of
from recall_env.dialect import DIALECTS
from recall_env.errors import RecallError
from recall_env.nearest import did_you_mean, listed
from recall_env.packages import one_of, rubric_of
from recall_env.sandbox.broker import read_addresses
from recall_env.taskset import TaskSet
from recall_env.terminal import counted, inert, say

Names = list[str] | None


def check_command(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET", help="environment id, .parquet, .jsonl, folder, built-in set, package, .py or module"
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="split of the set; default: all of it")] = None,
    n: Annotated[
        int | None, typer.Option("-n", help="tasks of each environment, evenly spaced; default: all", min=1)
    ] = None,
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
    settings = Settings(dialect, "", max_turns, sandbox, read_addresses(service or []), seed, budget_s)
    environments = environments_of(target)
    reports, code = [], 0
    for environment in environments:
        try:
            tasks, own = _tasks_and_rubric(environment, split, rubric)
        except RecallError as error:
            if len(environments) == 1:
                raise
            say(f"recall-env: {environment}: {error}")
            code = 2
            continue
        tasks = tasks if n is None else tasks.spread(n)
        with counted("checked", len(tasks)) as advance:
            report = check(
                *(tasks, replace(settings, rubric=own)),
                target=environment,
                names=names,
                jobs=jobs,
                on_task=lambda verdict, advance=advance: advance(),
            )
        reports.append(report)
        code = max(code, int(not report.passes(strict)))
        if not as_json:
            _show(report, headed=len(environments) > 1)
        say(f"{environment}: {summary(report)}" if len(environments) > 1 else summary(report))
    written = json.dumps(_as_json(target, reports, len(environments) > 1), indent=1, ensure_ascii=False)
    if as_json:
        print(written)
    if output is not None:
        output.write_text(written + "\n")
        say(f"wrote {output}")
    if code:
        raise typer.Exit(code)


def _tasks_and_rubric(environment: str, split: str | None, rubric: str | None) -> tuple[TaskSet, str]:
    tasks = tasks_of(environment, split)
    rubric = rubric or one_of(environment) or "answer"
    rubric_of(rubric)  # a name that is none is the person's mistake, not a task's
    if not len(tasks):
        raise RecallError(f"{environment} holds no task")
    return tasks, rubric


def _show(report: Report, headed: bool) -> None:
    from rich.console import Console

    if headed:
        print(f"\n{report.target}")
    Console(width=None if sys.stdout.isatty() else 160).print(checks_table(report))
    for line in finding_lines(report):
        print(inert(line))


def _as_json(target: str, reports: list[Report], several: bool) -> dict[str, Any]:
    """The report; of several environments, all of theirs under the name they were asked for by."""
    if not several:
        return reports[0].to_json()
    return {"form": FORM, "target": target, "environments": [report.to_json() for report in reports]}


def _list_checks(as_json: bool) -> None:
    rows = [{"check": name, "severity": one.severity, "meaning": one.meaning} for name, one in CHECKS.items()]
    print(json.dumps(rows, indent=1) if as_json else "\n".join("\t".join(row.values()) for row in rows))


def _known(what: str, name: str, table: Iterable[str]) -> None:
    names = list(table)
    if name not in names:
        raise RecallError(f"no {what} {name!r}{did_you_mean(name, names) or '.'} There are: {listed(names)}")
