"""PNG plots of the measures, each as suite.py writes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.sandbox.plots import figure

Measure = dict[str, Any]  # Measured.to_json() and where it comes from
LINES = {  # name of a series -> colour, line, label
    "env.step": ("C0", ":", "ours, jailed, env.step"),
    "EnvPool": ("C0", "-", "ours, jailed, EnvPool"),
    "SkyRL-gym, bare env.step": ("C1", ":", "SkyRL-gym, unjailed, bare env.step"),
    "SkyRL-gym as its trainer steps": ("C1", "-", "SkyRL-gym, unjailed, its trainer's loop"),
    "verifiers, bare env_response": ("C2", ":", "verifiers, unjailed, bare env_response"),
    "verifiers as its rollout steps": ("C2", "-", "verifiers, unjailed, its rollout's loop"),
    "a bare process for each episode": ("C3", ":", "unjailed, a bare process for each episode"),
    "ReCall, requests.post": ("C7", "-", "ReCall's HTTP sandbox, its loop"),
}

ENDS = {  # name of a series -> colour, line
    "ideal": ("C7", "-"),
    "live, EnvPool": ("C0", "-"),
    "whole, EnvPool": ("C0", ":"),
    "live, lock-step": ("C1", "-"),
}


def _steps(measure: Measure, path: Path) -> None:
    series = measure["series"]

    def fill(axis) -> None:
        live = series["live"]
        for name, (colour, line, label) in LINES.items():
            if rates := series.get(name):
                axis.plot(live[: len(rates)], rates, line, marker="o", color=colour, label=label)
        axis.set(title="whole steps a second of one core", xlabel="live episodes", ylabel="steps/s")
        axis.set(xscale="log", yscale="log")
        axis.set_xticks(live, [f"{count:,}" for count in live])
        axis.minorticks_off()
        axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))

    figure(path, 1, fill, width=8.5)


def _tail(measure: Measure, path: Path) -> None:
    """When how many episodes had ended, of the first seed."""
    series = measure["series"]

    def fill(axis) -> None:
        for name, (colour, line) in ENDS.items():
            ends = series[f"{name}, ended at s"]
            shares = [100 * (rank + 1) / len(ends) for rank in range(len(ends))]
            axis.step([0, *ends], [0, *shares], where="post", color=colour, ls=line, label=name)
        axis.set(title="episodes that have ended", xlabel="s", ylabel="%", ylim=(0, 103), xlim=(0, None))
        axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))

    figure(path, 1, fill, width=7.0)


PLOTS: dict[str, Callable[[Measure, Path], None]] = {"steps": _steps, "tail": _tail}
