"""What a person sees while a run goes on: a bar on a terminal, else one plain line a step. Words go to stderr."""

import math
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from recall_train.evaluation import EvalResult
from recall_train.metrics import Values


class Progress:
    def __init__(self, quiet: bool = False):
        self.console = Console(stderr=True, quiet=quiet, soft_wrap=True, highlight=False)
        self._live = sys.stderr.isatty() and not quiet
        self._bar: RichProgress | None = None
        self._began = time.perf_counter()
        self._first_step: int | None = None

    def note(self, text: str) -> None:
        self.console.print(text)

    def phase(self, what: str, total: int) -> Callable[[], None]:
        """A new bar of `total` episodes; call what is returned once for each that ended."""
        self.close()
        if not self._live:
            return lambda: None
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = RichProgress(*columns, console=self.console, transient=True)
        task = self._bar.add_task(what, total=total)
        self._bar.start()
        return lambda: self._bar.advance(task) if self._bar else None

    def step(self, step: int, steps: int, values: Values, most_s: float = math.inf) -> None:
        """The line of a step. most_s: seconds after which the run stops, whatever its steps."""
        self.close()
        if self._first_step is None:
            self._first_step, self._began = step - 1, time.perf_counter() - values["perf/step_s"]
        kl = values.get("mismatch_kl/mean")  # absent when no trajectory could be learned from
        left = min(most_s, (time.perf_counter() - self._began) / (step - self._first_step) * (steps - step))
        self.console.print(
            f"step {step:3d}/{steps}  reward {values['reward/mean']:.3f}  success {values['rollout/success']:.2f}  "
            f"calls {values['tools/calls']:.1f}  kl {'-' if kl is None else f'{kl:.1e}'}  "
            f"rollout {values['perf/rollout_s']:.1f}s  train {values['perf/train_s']:.1f}s  "
            f"sync {values['perf/weight_sync_s']:.2f}s  left {left / 60:.1f} min"
        )

    def evaluated(self, step: int, result: EvalResult) -> None:
        self.close()
        low, high = result.interval
        self.console.print(
            f"step {step:3d}  held-out success, {result.split}: {result.success:.1%} "
            f"(95% interval {low:.1%} to {high:.1%}, n = {result.n})"
        )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
