"""Figures and claims: what a measure hands back. A claim holds a figure against its baseline and the issue's goal."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple


class Figure(NamedTuple):
    value: float
    unit: str


@dataclass(frozen=True)
class Claim:
    """value: None when it could not be measured; then the goal is not met. goal: None where the issue names none."""

    what: str
    value: float | None
    unit: str
    baseline: float | None = None
    baseline_is: str = ""
    sense: Literal["at least", "at most"] = "at most"
    goal: float | None = None
    goal_on: Literal["value", "ratio"] = "value"

    @property
    def ratio(self) -> float | None:
        return self.value / self.baseline if self.value is not None and self.baseline else None

    @property
    def met(self) -> bool | None:
        """None without a goal."""
        if self.goal is None:
            return None
        held = self.ratio if self.goal_on == "ratio" else self.value
        if held is None:
            return False
        return held >= self.goal if self.sense == "at least" else held <= self.goal

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


@dataclass
class Measured:
    """One measure's outcome. series: lists, for plots. notes: what a reader must know besides."""

    figures: dict[str, Figure] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    series: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, value: float, unit: str) -> float:
        self.figures[name] = Figure(round(value, 4), unit)
        return value

    def to_json(self) -> dict[str, Any]:
        return {
            "figures": {name: figure._asdict() for name, figure in self.figures.items()},
            "claims": [claim.to_json() for claim in self.claims],
            "series": self.series,
            "notes": self.notes,
        }


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
