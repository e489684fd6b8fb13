"""python -m benchmarks.check: `recall-env check` over 1,000 shipped tasks and over the planted corpus.

Its time, its alarms, and what it finds. The corpus: tests/recall_env/check_corpus.
Writes benchmarks/results/check.json (its form: benchmarks/results/README.md). The table on stdout has every planted
defect. Exit 1 when a defect was missed or a shipped task raised an alarm.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.record import RESULTS
from recall_env.check.bench import Settings
from recall_env.check.checks import CHECKS
from recall_env.check.player import Players
from recall_env.check.run import check, check_task
from recall_env.rubric import RUBRICS
from recall_env.sandbox import JailPool
from recall_env.taskset import TaskSet
from recall_env.terminal import counted, say

CORPUS = Path(__file__).parent.parent / "tests" / "recall_env" / "check_corpus"
SPLITS = {"train": 0.5, "test": 0.3, "test_families": 0.2}  # shares of the shipped tasks that are checked


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.check",
        description="Measure recall-env check: its time over shipped tasks, and what it finds in the planted corpus.",
        epilog="example: python -m benchmarks.check -n 1000 --jobs 2",
    )
    parser.add_argument("-n", type=int, default=1000, help="shipped tasks")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes; default: one a core")
    parser.add_argument("--quick", action="store_true", help="20 tasks and no file: shows that all of it runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for check.json")
    arguments = parser.parse_args(words)
    n = 20 if arguments.quick else arguments.n
    record = {**_beside(words), "shipped": shipped(n, arguments.jobs), "planted": planted()}
    Console(width=None if sys.stdout.isatty() else 140).print(_table(record["planted"]))
    good = record["shipped"]
    say(f"{good['tasks']} shipped tasks in {good['seconds']} s, {good['alarms']} alarms")
    if not arguments.quick:
        (arguments.out / "check.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        say(f"wrote {os.path.relpath(arguments.out / 'check.json')}")
    return int(bool(good["alarms"]) or not all(row["found"] for row in record["planted"]))


def shipped(n: int, jobs: int) -> dict[str, Any]:
    """Time and alarms of n shipped tasks, of all splits. The start of workers and jails is in the time."""
    sets = [TaskSet.load("syntool", split).spread(round(n * share)) for split, share in SPLITS.items()]
    tasks = TaskSet([task for part in sets for task in part], "syntool")
    with counted("checked", len(tasks)) as advance:
        start = time.monotonic()
        report = check(tasks, jobs=jobs, on_task=lambda _: advance())
        seconds = time.monotonic() - start
    alarms = [f"{point.id}: {finding.check}: {finding.text}" for point, finding in report.findings()]
    counts = {name: dict(counted) for name, counted in report.counts().items()}
    mutants = [point.figures["mutants"] for point in report.points if point.figures.get("mutants")]
    return {
        "tasks": len(tasks),
        "jobs": jobs,
        "seconds": round(seconds, 1),
        "tasks_per_s": round(len(tasks) / seconds, 2),
        "alarms": len(alarms),
        "first_alarms": alarms[:10],
        "checks": counts,
        "mutation_score": round(sum(m["killed"] for m in mutants) / max(1, sum(m["of"] for m in mutants)), 3),
    }


def planted() -> list[dict[str, Any]]:
    """One row a defect: the check that is to find it, whether it did, and which others spoke."""
    corpus = _corpus()
    settings = Settings()
    shared = {key: asdict(settings)[key] for key in ("dialect", "rubric", "max_turns", "sandbox", "services")}
    pool, players = JailPool(shards=1), Players(shared)
    rows = []
    try:
        with counted("planted", len(corpus.PLANTED)) as advance:
            for name, one in corpus.PLANTED.items():
                rows.append(_row(name, one, settings, pool, players))
                advance()
    finally:
        players.close()
        pool.close()
    return rows


def _row(name: str, one: Any, settings: Settings, pool: JailPool, players: Players) -> dict[str, Any]:
    alone = None if one.rubric or one.pool else players  # players know our rubrics and jails alone
    if one.rubric is not None:
        RUBRICS["planted"] = one.rubric
        settings = replace(settings, rubric="planted")
    start = time.monotonic()
    verdict = check_task(one.task, one.pool() if one.pool else pool, settings, alone)
    seconds = time.monotonic() - start
    RUBRICS.pop("planted", None)
    spoke = {(finding.check, finding.severity): finding.text for finding in reversed(verdict.findings)}
    return {
        "defect": name,
        "check": one.check,
        "severity": one.severity,
        "found": (one.check, one.severity) in spoke,
        "text": spoke.get((one.check, one.severity)),
        "others": sorted({finding.check for finding in verdict.findings} - {one.check}, key=list(CHECKS).index),
        "seconds": round(seconds, 2),
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    shown = Table(title=f"{sum(row['found'] for row in rows)} of {len(rows)} planted defects found by their check")
    for column in ("defect", "check", "severity", "found", "others that spoke"):
        shown.add_column(column)
    for row in rows:
        found = "yes" if row["found"] else "MISSED"
        shown.add_row(row["defect"], row["check"], row["severity"], found, ", ".join(row["others"]))
    return shown


def _beside(words: list[str] | None) -> dict[str, Any]:
    """What a figure is worth nothing without."""
    from recall_env.sandbox.jail import probe
    from recall_train.results import commit, hardware

    rung = probe().rung
    return {
        "command": " ".join(["python -m benchmarks.check", *(sys.argv[1:] if words is None else words)]),
        "commit": commit(),
        "hardware": f"{hardware()}, Linux {platform.release()}, Python {platform.python_version()}",
        "sandbox": rung.name if rung else "none",
    }


def _corpus() -> ModuleType:
    sys.path.insert(0, str(CORPUS))  # its two files import each other
    return importlib.import_module("planted")


if __name__ == "__main__":
    sys.exit(main())
