"""python -m benchmarks.sandbox [MEASURE...]: run measures, each in a process of its own, and hold them to their goals.

Writes benchmarks/results/sandbox.json and the plots in docs/images; a measure that was not chosen keeps the figures it
had there, with the commit they are of. The table on stdout has this run's measures. Exit 1 when one broke or missed.
"""

import argparse
import dataclasses
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.record import IMAGES, RESULTS
from benchmarks.sandbox import plots
from benchmarks.sandbox.figures import Measured
from benchmarks.sandbox.measures import MEASURES, apart
from benchmarks.sandbox.report import say, table, verdict


def main(words: list[str] | None = None) -> int:
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sandbox",
        description="Measure the sandbox. Without a measure: all of them; a quarter of an hour on two cores.",
        epilog="example: python -m benchmarks.sandbox calls spawn --quick",
    )
    parser.add_argument("measures", nargs="*", metavar="measure", help=", ".join(MEASURES))
    parser.add_argument("--quick", action="store_true", help="small sizes, a minute or two; written only with --out")
    parser.add_argument("--calls", type=int, help="of the soak")
    parser.add_argument("--episodes", type=int, help="of the soak")
    parser.add_argument("--out", type=Path, help="folder for sandbox.json and the plots, instead of this repository")
    arguments = parser.parse_args(words)
    if unknown := set(arguments.measures) - MEASURES.keys():
        parser.error(f"no measure {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    chosen = [name for name in MEASURES if name in (arguments.measures or MEASURES)]
    beside = _beside(words)
    sizes = {name: _size(name, arguments) for name in chosen}
    outcomes = {name: _run(name, size) for name, size in sizes.items()}
    done = {name: outcome for name, outcome in outcomes.items() if outcome is not None}
    if arguments.out or not arguments.quick:
        written = {
            name: {**beside, "size": dataclasses.asdict(sizes[name]), **measured.to_json()}
            for name, measured in done.items()
        }
        _write(written, arguments.out or RESULTS, arguments.out or IMAGES)
    claims = [claim for measured in done.values() for claim in measured.claims]
    Console(width=None if sys.stdout.isatty() else 160).print(table(claims, f"the sandbox, {beside['hardware']}"))
    return int(len(done) < len(chosen) or any(verdict(claim) in ("missed", "not there") for claim in claims))


def _size(name: str, arguments: argparse.Namespace) -> Any:
    size = MEASURES[name].QUICK if arguments.quick else MEASURES[name].Size()
    if name == "soak":
        given = {key: getattr(arguments, key) for key in ("calls", "episodes") if getattr(arguments, key)}
        size = dataclasses.replace(size, **given)
    return size


def _run(name: str, size: Any) -> Measured | None:
    """None when it broke."""
    say(name, "...")
    try:
        return apart(name, size)
    except Exception as error:
        say(name, f"broke: {type(error).__name__}: {error}")
        return None


def _beside(words: list[str]) -> dict[str, Any]:
    """What a figure is worth nothing without."""
    from recall_env.sandbox.jail import probe
    from recall_train.results import commit, hardware

    rung = probe().rung  # the one that every jail of this run is on
    return {
        "command": " ".join(["python -m benchmarks.sandbox", *words]),
        "commit": commit(),
        "hardware": f"{hardware()}, Linux {platform.release()}, Python {platform.python_version()}",
        "sandbox": rung.name if rung else "none",
    }


def _write(measures: dict[str, dict[str, Any]], results: Path, images: Path) -> None:
    results.mkdir(parents=True, exist_ok=True)
    file = results / "sandbox.json"
    record = json.loads(file.read_text()) if file.is_file() else {"measures": {}}
    record["measures"] = {
        name: measures.get(name, record["measures"].get(name))
        for name in MEASURES
        if name in measures or name in record["measures"]
    }
    file.write_text(json.dumps(record, indent=1) + "\n")
    drawn = plots.draw(record["measures"], images)
    say("", f"wrote {', '.join(os.path.relpath(path) for path in [file, *drawn])}")


if __name__ == "__main__":
    sys.exit(main())
