"""PNG plots of the measures, each as suite.py writes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Measure = dict[str, Any]  # Measured.to_json() and where it comes from


def _calls(measure: Measure, path: Path) -> None:
    """Rates of one core, and latencies by calls in flight."""
    series, figures = measure["series"], measure["figures"]

    def fill(left, right) -> None:
        in_flight = series["in flight"]
        names = [name for name in figures if name.startswith("ReCall") and name.endswith("keep-alive")]
        names += [f"{mode}, {count} in flight" for mode in ("fresh", "stateful") for count in in_flight]
        colours = ["C7" if name.startswith("ReCall") else "C0" if name.startswith("fresh") else "C1" for name in names]
        bars = left.barh(names[::-1], [figures[name]["value"] for name in names][::-1], color=colours[::-1])
        left.bar_label(bars, fmt="{:,.0f}", padding=3)
        left.set_xlim(0, 1.2 * max(figures[name]["value"] for name in names))
        left.set(title="calls a second of one core", xlabel="calls/s")
        for colour, mode in (("C0", "fresh"), ("C1", "stateful")):
            right.plot(in_flight, series[f"{mode} p50_ms"], marker="o", color=colour, label=f"{mode}, p50")
            right.plot(in_flight, series[f"{mode} p99_ms"], marker="o", ls=":", color=colour, label=f"{mode}, p99")
        right.set(title="latency", xlabel="calls in flight", ylabel="ms", xscale="log", yscale="log")
        right.set_xticks(in_flight, [str(count) for count in in_flight])
        right.legend(frameon=False)

    figure(path, 2, fill)


def _live(measure: Measure, path: Path) -> None:
    series = measure["series"]

    def fill(memory, opening, rate) -> None:
        live = series["live"]
        memory.plot(live, series["charged_mb"], marker="o", label="charged")
        memory.plot(live, series["pss_mb"], marker="o", label="PSS")
        memory.legend(frameon=False)
        memory.set(title="memory of an episode", ylabel="MB")
        opening.plot(live, series["open_ms"], marker="o")
        opening.set(title="opening one", ylabel="ms")
        rate.plot(live, series["rate"], marker="o", label="steady")
        rate.plot(live, series["first_round"], marker="o", label="first call to each")
        rate.legend(frameon=False)
        rate.set(title="calls, round robin over all", ylabel="calls/s")
        for axis in (memory, opening, rate):
            axis.set(xlabel="live episodes")
            _from_zero(axis)

    figure(path, 3, fill)


def _hang(measure: Measure, path: Path) -> None:
    series = measure["series"]

    def fill(axis) -> None:
        for way in ("time.sleep", "while True"):
            axis.plot(series[f"{way}, ms"], series[f"{way}, left"], label=way)
        axis.legend(frameon=False)
        axis.set(title="hung episodes left after their deadline", xlabel="ms", ylabel="processes")
        _from_zero(axis)

    figure(path, 1, fill)


def _soak(measure: Measure, path: Path) -> None:
    series = measure["series"]

    def fill(memory, held) -> None:
        memory.plot(series["elapsed_s"], series["memory"])
        memory.set(title="memory of the host's process", xlabel="s", ylabel="MB")
        for name in ("descriptors", "processes", "cgroup folders"):
            held.plot(series["elapsed_s"], series[name], label=name)
        held.legend(frameon=False)
        held.set(title="held of the machine", xlabel="s")
        for axis in (memory, held):
            _from_zero(axis)

    figure(path, 2, fill)


PLOTS: dict[str, Callable[[Measure, Path], None]] = {"calls": _calls, "live": _live, "hang": _hang, "soak": _soak}


def _from_zero(axis) -> None:
    axis.set_ylim(0, 1.1 * axis.get_ylim()[1])


def figure(path: Path, panels: int, fill: Callable[..., None], width: float = 5.0) -> None:
    """One row of panels, `width` inches each; `fill` is given their axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn, axes = pyplot.subplots(1, panels, figsize=(width * panels, 3.8), layout="constrained", squeeze=False)
    fill(*axes[0])
    for axis in axes[0]:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    drawn.savefig(path, dpi=130)
    pyplot.close(drawn)
