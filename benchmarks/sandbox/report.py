"""What a person sees: a line of progress now and then, and one table at the end."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.sandbox.figures import Claim

MET = {True: "met", False: "missed", None: "-"}


def say(measure: str, text: str) -> None:
    """On stderr; the table alone is for stdout."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold]{measure:>9}[/]  {escape(text)}")


def table(claims: Iterable[Claim], title: str) -> Table:
    shown = Table(title=title)
    for column in ("measure", "figure", "baseline", "ratio", "goal", ""):
        shown.add_column(column, justify="left" if column in ("measure", "") else "right")
    for claim in claims:
        shown.add_row(claim.what, _figure(claim), _baseline(claim), _ratio(claim.ratio), _goal(claim), verdict(claim))
    return shown


def verdict(claim: Claim) -> str:
    return "not there" if claim.value is None else MET[claim.met]


def _figure(claim: Claim) -> str:
    return "-" if claim.value is None else f"{_number(claim.value)} {claim.unit}".rstrip()


def _baseline(claim: Claim) -> str:
    return "-" if claim.baseline is None else f"{_number(claim.baseline)} ({claim.baseline_is})"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"


def _goal(claim: Claim) -> str:
    if claim.goal is None:
        return "-"
    sign = ">=" if claim.sense == "at least" else "<="
    return f"{sign} {claim.goal:g}{'x' if claim.goal_on == 'ratio' else ' ' + claim.unit}".rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
