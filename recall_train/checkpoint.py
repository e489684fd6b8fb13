"""What a rerun goes on from: a folder per saved step, whole or absent, and the run folder's own identity.

A checkpoint is written under a temporary name and renamed when complete, so a SIGKILL at any moment leaves the one
before it. Not here: what a learner's state is made of (learner.py).
"""

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

from recall_env.errors import RecallError
from recall_train.config import Config, load_config, to_toml
from recall_train.metrics import read_metrics

RECORD, FRESH_RECORD = "config.toml", "config.partial"
MAY_DIFFER = {"run.steps", "run.minutes", "run.save_every", "run.keep_checkpoints", "run.wandb", "run.folder"}


class Checkpoints:
    """The checkpoints of one run, newest kept: `<run>/checkpoints/step-000010/{model, learner, state.json}`."""

    def __init__(self, run_folder: Path, keep: int):
        self.folder = run_folder / "checkpoints"
        self.keep = keep

    def latest(self) -> Path | None:
        """The newest complete checkpoint, if there is one."""
        complete = sorted(p for p in self.folder.glob("step-*") if (p / "state.json").is_file())
        return complete[-1] if complete else None

    def begin(self, step: int) -> Path:
        """A fresh folder to write into; it counts only after `commit`. Removes what kills left of earlier ones."""
        for left in self.folder.glob("partial-*"):
            shutil.rmtree(left)
        partial = self.folder / f"partial-{step:06d}"
        partial.mkdir(parents=True)
        return partial

    def commit(self, partial: Path, state: dict[str, Any]) -> Path:
        """Make the checkpoint valid, then delete all but the newest `keep`."""
        (partial / "state.json").write_text(json.dumps(state, indent=1))
        final = self.folder / partial.name.replace("partial", "step")
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        for old in sorted(self.folder.glob("step-*"))[: -self.keep]:
            shutil.rmtree(old)
        return final

    @staticmethod
    def state(checkpoint: Path) -> dict[str, Any]:
        return json.loads((checkpoint / "state.json").read_text())


_locks: dict[Path, int] = {}  # descriptors of the run folders that this process trains in


def claim_run(config: Config) -> None:
    """Keep other processes out of the run folder until `release_run`. Raises RecallError while one has it: two would
    write over each other's files. Also what `can_go_on` raises."""
    can_go_on(config)
    folder = config.run.folder
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        os.close(lock)
        raise RecallError(f"{folder}: another process trains in it; wait, or give --run.folder another name") from e
    _locks[folder] = lock


def open_run(config: Config) -> bool:
    """Record these settings in the run folder; `can_go_on`, with its errors."""
    begun = can_go_on(config)
    folder = config.run.folder
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / FRESH_RECORD
    fresh.write_text(to_toml(config))
    fresh.replace(folder / RECORD)  # killed before this, the record is the one from before
    return begun


def release_run(folder: Path) -> None:
    """Let others have it; nothing when this process does not hold it. The end of the process does the same."""
    if folder in _locks:
        os.close(_locks.pop(folder))


def can_go_on(config: Config) -> bool:
    """Whether the run folder holds a run with these settings; False when it is free. Changes nothing.

    Raises RecallError when it holds something else: nothing is ever overwritten. A run that ended before its first
    line of metrics holds nothing, and gives way.
    """
    folder = config.run.folder
    record = folder / RECORD
    if folder.exists() and not folder.is_dir():
        raise RecallError(f"{folder}: a file, not a run folder; give --run.folder another name")
    if not record.exists() and folder.exists() and any(path.name != FRESH_RECORD for path in folder.iterdir()):
        raise RecallError(f"{folder}: not empty and not a run; give --run.folder another name")
    begun = record.exists() and bool(read_metrics(folder / "metrics.jsonl"))
    if begun:
        _check_same(folder, load_config([record], []), config)
    return begun


def _check_same(folder: Path, there: Config, here: Config) -> None:
    theirs, ours = _flat(there), _flat(here)
    drift = [key for key in ours if key not in MAY_DIFFER and ours[key] != theirs[key]]
    if drift:
        what = "; ".join(f"{key} is {theirs[key]!r} there, {ours[key]!r} here" for key in drift[:3])
        raise RecallError(f"{folder}: holds a run with other settings ({what}); give --run.folder another name")


def _flat(config: Config) -> dict[str, Any]:
    return {f"{s}.{key}": value for s, section in config.model_dump().items() for key, value in section.items()}
