"""A suite of measures: `python -m benchmarks.sandbox`, `python -m benchmarks.envs`. Runs each in a process of its own.

Writes benchmarks/results/NAME.json and the plots in docs/images; a measure that was not chosen keeps the figures it had
there, with the commit they are of. The table on stdout has this run's measures.
"""

import argparse
import dataclasses
import importlib
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console

from benchmarks.record import IMAGES, RESULTS
from benchmarks.sandbox import process_tree
from benchmarks.sandbox.figures import Claim, Measured
from benchmarks.sandbox.report import say, table, verdict

GONE_S = 20.0  # for the last of thousands of processes

Plot = Callable[[dict[str, Any], Path], None]  # a measure as written, and the file to draw it into


@dataclasses.dataclass(frozen=True)
class Suite:
    """measures: name -> a module with Size, QUICK (a small one) and measure(size)."""

    name: str
    title: str
    measures: dict[str, ModuleType]
    plots: dict[str, Plot]  # of those measures that have one

    def parser(self, description: str, example: str) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(
            prog=f"python -m benchmarks.{self.name}",
            description=description,
            epilog=f"example: python -m benchmarks.{self.name} {example}",
        )
        parser.add_argument("measures", nargs="*", metavar="measure", help=", ".join(self.measures))
        parser.add_argument(
            "--quick", action="store_true", help="small sizes, a minute or two; written only with --out"
        )
        parser.add_argument("--out", type=Path, help=f"folder for {self.name}.json and the plots, not this repository")
        return parser

    def draw(self, measures: dict[str, Any], folder: Path) -> list[Path]:
        """Writes NAME_MEASURE.png for each of the measures, as written, that has a plot; their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        drawn = {folder / f"{self.name}_{name}.png": name for name in self.plots if name in measures}
        for path, name in drawn.items():
            self.plots[name](measures[name], path)
        return list(drawn)

    def chosen(self, parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> dict[str, Any]:
        """Measure -> size, in the suite's order. Exits with 2 for a measure that does not exist."""
        if unknown := set(arguments.measures) - self.measures.keys():
            parser.error(f"no measure {', '.join(sorted(unknown))}; there are {', '.join(self.measures)}")
        names = [name for name in self.measures if name in (arguments.measures or self.measures)]
        return {name: self.measures[name].QUICK if arguments.quick else self.measures[name].Size() for name in names}

    def play(self, sizes: dict[str, Any], arguments: argparse.Namespace, words: list[str]) -> int:
        """Run, write, and print the table. 1 when a measure broke or missed a goal."""
        beside = _beside(f"python -m benchmarks.{self.name}", words)
        outcomes = {name: self.run(name, size) for name, size in sizes.items()}
        done = {name: outcome for name, outcome in outcomes.items() if outcome is not None}
        if arguments.out or not arguments.quick:
            written = {
                name: {**beside, "size": dataclasses.asdict(sizes[name]), **measured.to_json()}
                for name, measured in done.items()
            }
            self.write(written, arguments.out or RESULTS, arguments.out or IMAGES)
        claims = [claim for measured in done.values() for claim in measured.claims]
        Console(width=None if sys.stdout.isatty() else 160).print(table(claims, f"{self.title}, {beside['hardware']}"))
        return int(len(done) < len(sizes) or any(verdict(claim) in ("missed", "not there") for claim in claims))

    def run(self, name: str, size: Any) -> Measured | None:
        """None when it broke."""
        say(name, "...")
        try:
            return apart(self.measures[name], name, size)
        except Exception as error:
            say(name, f"broke: {type(error).__name__}: {error}")
            return None

    def write(self, measures: dict[str, dict[str, Any]], results: Path, images: Path) -> None:
        results.mkdir(parents=True, exist_ok=True)
        file = results / f"{self.name}.json"
        record = json.loads(file.read_text()) if file.is_file() else {"measures": {}}
        record["measures"] = {
            name: measures.get(name, record["measures"].get(name))
            for name in self.measures
            if name in measures or name in record["measures"]
        }
        file.write_text(json.dumps(record, indent=1) + "\n")
        drawn = self.draw(record["measures"], images)
        say("", f"wrote {', '.join(os.path.relpath(path) for path in [file, *drawn])}")


def apart(module: ModuleType, name: str, size: Any) -> Measured:
    """A measure in a fresh process, whose cores, limits, memory and jails are its own. Raises what it raises."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_measure, module.__name__, name, size).result()


def _measure(module: str, name: str, size: Any) -> Measured:
    measured = importlib.import_module(module).measure(size)
    deadline = time.monotonic() + GONE_S
    while (left := _left()) and time.monotonic() < deadline:
        time.sleep(0.05)
    if left:
        measured.notes.append(f"left behind: {', '.join(left)}")
        measured.claims.append(Claim(f"{name}, left behind", len(left), "", goal=0.0))
    return measured


def _left() -> list[str]:
    """Processes and cgroup folders of this process, which has closed all its pools."""
    processes = [f"process {process_tree.name(pid)}" for pid in process_tree.descendants(os.getpid())]
    return processes + [f"cgroup {folder.name}" for folder in process_tree.cgroup_folders()]


def _beside(command: str, words: list[str]) -> dict[str, Any]:
    """What a figure is worth nothing without."""
    from recall_env.sandbox.jail import probe
    from recall_train.results import commit, hardware

    rung = probe().rung  # the one that every jail of this run is on
    return {
        "command": " ".join([command, *words]),
        "commit": commit(),
        "hardware": f"{hardware()}, Linux {platform.release()}, Python {platform.python_version()}",
        "sandbox": rung.name if rung else "none",
    }
