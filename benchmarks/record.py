"""python -m benchmarks.record NAME RUN... --command TEXT: finished run folders -> benchmarks/results/NAME.json.

Copies what the runs measured (their results.json), nothing else: no figure is made here but the clock's. The form is
in benchmarks/results/README.md; tools/readme_results.py shows it in the README.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from recall_env.errors import RecallError
from recall_train.config import load_config

RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parent.parent / "docs" / "images"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.record",
        description="Copy the results of finished runs of one preset into benchmarks/results.",
        epilog="example: python -m benchmarks.record demo runs/demo runs/demo-1 runs/demo-2 --command 'make demo'",
    )
    parser.add_argument("name", help="demo or h200: the file's name, and the block of the README it fills")
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, one a seed")
    parser.add_argument("--command", required=True, help="what was typed for the first of them")
    parser.add_argument("--note", help="what a reader must know besides, such as where the weights came from")
    arguments = parser.parse_args(words)
    try:
        record = collect(arguments.runs, arguments.command, arguments.note)
    except RecallError as error:
        print(f"record: {error}", file=sys.stderr)
        return 2
    target = RESULTS / f"{arguments.name}.json"
    target.write_text(json.dumps(record, indent=1) + "\n")
    plot = arguments.runs[0] / "success.png"
    if plot.is_file():
        IMAGES.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(plot, IMAGES / f"{arguments.name}.png")
    print(f"wrote {target}; next: python tools/readme_results.py", file=sys.stderr)
    return 0


def collect(runs: list[Path], command: str, note: str | None = None) -> dict[str, Any]:
    """One record of several seeds. Raises RecallError for runs that are unfinished, repeated, or not comparable."""
    entries = [_run(folder) for folder in runs]
    seeds = [entry["seed"] for entry in entries]
    if len(set(seeds)) < len(seeds):
        raise RecallError(f"seeds {seeds}: expected one run a seed")
    shared = {}
    for key in ("commit", "hardware"):
        found = sorted({entry.pop(key) for entry in entries})
        if len(found) > 1:
            raise RecallError(f"the runs differ in {key}: {', '.join(found)}")
        shared[key] = found[0]
    said = {"note": note} if note else {}
    return {
        "command": command,
        **said,
        **shared,
        "seeds": sorted(seeds),
        "runs": sorted(entries, key=lambda e: e["seed"]),
    }


def _run(folder: Path) -> dict[str, Any]:
    try:
        results = json.loads((folder / "results.json").read_text())
        settings = load_config([folder / "config.toml"], [])
    except FileNotFoundError as e:
        raise RecallError(f"{folder}: not a finished run ({Path(e.filename).name} is missing)") from e
    kept = ("commit", "hardware", "steps", "train_s", "step_s", "splits")
    name = settings.model.path
    model = Path(name).name if Path(name).is_absolute() else name  # where the folder lay concerns nobody
    given = {"seed": settings.run.seed, "model": model, "sandbox": settings.env.sandbox}
    return {**given, **{key: results[key] for key in kept}}


if __name__ == "__main__":
    sys.exit(main())
