"""What a run came to: before and after, with intervals, from its metrics.jsonl; as a table, as JSON, as a plot."""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from recall_env.errors import RecallError
from recall_train.metrics import Values, read_metrics


@dataclass(frozen=True)
class SplitResult:
    """Success on one evaluation split at one step; the interval is 95% Wilson."""

    step: int
    success: float
    low: float
    high: float
    n: int
    by_family: dict[str, float]


@dataclass(frozen=True)
class Results:
    folder: str
    steps: int
    train_s: float  # all training steps, evaluation and start-up apart
    splits: dict[str, list[SplitResult]]  # by split, in the order of steps
    step_s: dict[str, float]  # medians of rollout, train, sync and the whole step


def read_results(folder: Path) -> Results:
    """Raises RecallError when the folder holds no evaluated run."""
    lines = read_metrics(folder / "metrics.jsonl")
    splits: dict[str, list[SplitResult]] = {}
    for line in lines:
        for split in (key.split("/")[1] for key in line if key.startswith("eval/") and key.count("/") == 2):
            if f"eval/{split}/n" in line and not (splits.get(split) and splits[split][-1].step == line["step"]):
                splits.setdefault(split, []).append(_split_result(line, split))
    if not splits:
        raise RecallError(f"{folder}: no evaluated run here (no eval line in metrics.jsonl)")
    steps = [line for line in lines if "perf/step_s" in line]
    parts = ("rollout_s", "train_s", "weight_sync_s", "step_s")
    return Results(
        folder=str(folder),
        steps=max((line["step"] for line in steps), default=0),
        train_s=sum(line["perf/step_s"] for line in steps),
        splits=splits,
        step_s={part: _median([line[f"perf/{part}"] for line in steps]) for part in parts} if steps else {},
    )


def _split_result(line: Values, split: str) -> SplitResult:
    at = f"eval/{split}/"
    families = {
        key[len(at) : -len("/success")]: value
        for key, value in line.items()
        if key.startswith(at) and key.endswith("/success") and key != f"{at}success"
    }
    return SplitResult(
        line["step"], line[f"{at}success"], line[f"{at}low"], line[f"{at}high"], line[f"{at}n"], families
    )


def print_results(results: Results, console: Console) -> None:
    """The table a person waits for: first and last evaluation of each split, whole and by family."""
    table = Table(title=f"held-out success, {results.steps} steps, {results.train_s / 60:.1f} min of training")
    for column in ("split", "before", "after", "points", "n"):
        table.add_column(column, justify="left" if column == "split" else "right", no_wrap=True)
    for split, evals in results.splits.items():
        first, last = evals[0], evals[-1]
        table.add_row(split, _percent(first), _percent(last), _points(last.success - first.success), str(last.n))
        for family, after in last.by_family.items():
            before = first.by_family.get(family, 0.0)
            table.add_row(f"  {family}", f"{before:.1%}", f"{after:.1%}", _points(after - before), "")
    console.print(table)


def write_results(results: Results, path: Path, *, commit: str, sandbox: str) -> None:
    """The same as JSON, with what a claim needs beside it; the settings lie in the run folder.

    commit: of the code when it was started, which is not what the checkout holds when a long run ends.
    """
    beside = {"hardware": hardware(), "commit": commit, "sandbox": sandbox}
    path.write_text(json.dumps({**asdict(results), **beside}, indent=1) + "\n")


def plot(results: Results, metrics: list[Values], path: Path) -> None:
    """Held-out success with its interval, and the reward of each step, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for split, evals in results.splits.items():
        x, y = [e.step for e in evals], [e.success for e in evals]
        (line,) = left.plot(x, y, marker="o")
        left.fill_between(x, [e.low for e in evals], [e.high for e in evals], color=line.get_color(), alpha=0.18)
        left.annotate(
            f"{split.replace('_', ' ')} {y[-1]:.0%}", (x[-1], evals[-1].high), (0, 4), textcoords="offset points",
            ha="right", color=line.get_color(),
        )  # fmt: skip
    left.set(title="held-out success (95% interval)", xlabel="step", ylim=(0, 1))
    steps = [m for m in metrics if "reward/mean" in m]
    x, rewards, successes = ([m[key] for m in steps] for key in ("step", "reward/mean", "rollout/success"))
    right.plot(x, rewards, label="reward")
    if rewards != successes:  # under the rubric `answer` they are one line
        right.plot(x, successes, label="success, sampled")
    right.set(title="training tasks", xlabel="step", ylim=(0, 1))
    right.legend(frameon=False, loc="lower right")
    for axis in (left, right):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def hardware() -> str:
    """Processor, cores and GPUs of this machine, in words."""
    import torch

    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        models = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
        cpu = models[0] if models else cpu
    text = f"{len(os.sched_getaffinity(0))} cores of {cpu}"
    if torch.cuda.is_available():
        text += f", {torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    return text


def commit() -> str:
    """The git commit of this code, '+' when the tree differs from it; 'unknown' outside a checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=10", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _percent(result: SplitResult) -> str:
    return f"{result.success:.1%} ({100 * result.low:.0f}-{100 * result.high:.0f})"


def _points(change: float) -> str:
    return f"{change * 100:+.1f}"
