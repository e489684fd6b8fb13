"""metrics.jsonl, one line a step, and the same numbers to wandb when asked. Names: DESIGN section 8."""

import json
import math
from pathlib import Path
from types import TracebackType

Values = dict[str, float | int]


class MetricsLog:
    """Appends to `<run>/metrics.jsonl`. Opened to go on from step k it first drops every line of a later step."""

    def __init__(self, folder: Path, *, resume_at: int | None, wandb_mode: str, config: dict, quiet: bool = False):
        """resume_at: the step of the checkpoint gone on from; None where there is none, and no line is kept."""
        self.path = folder / "metrics.jsonl"
        self._file = self._wandb = None
        self._kept: list[Values] = []
        if quiet:  # ranks other than the first
            return
        kept = [] if resume_at is None else [line for line in read_metrics(self.path) if line["step"] <= resume_at]
        fresh = self.path.with_suffix(".partial")
        fresh.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._kept = kept
        fresh.replace(self.path)  # killed before this, the lines are those from before
        self._file = self.path.open("a")
        if wandb_mode != "off":
            import wandb

            self._wandb = wandb.init(
                project="recall", name=folder.name, id=folder.name, dir=folder, mode=wandb_mode, config=config,
                resume="allow",
            )  # fmt: skip

    def evaluated(self, step: int) -> set[str]:
        """The splits whose evaluation at this step was logged before the run was interrupted."""
        lines = (line for line in self._kept if line["step"] == step)
        return {key.split("/")[1] for line in lines for key in line if key.startswith("eval/")}

    def log(self, step: int, values: Values) -> None:
        """One line, on disk when this returns. A non-finite number is written as null: JSON has no NaN."""
        if self._file is None:
            return
        finite = {key: (value if math.isfinite(value) else None) for key, value in values.items()}
        self._file.write(json.dumps({"step": step, **finite}) + "\n")
        self._file.flush()
        if self._wandb is not None:
            self._wandb.log(values, step=step)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._wandb is not None:
            self._wandb.finish()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read_metrics(path: Path) -> list[Values]:
    """Every whole line; a last line cut by a kill is left out."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1] if line]
