"""A report for people: a table of checks, then what was found, task by task."""

from typing import Any

from recall_env.check.run import Report

MOST_FINDINGS = 40  # that are printed one by one; the JSON has all


def checks_table(report: Report) -> Any:
    """A rich Table: for every check, how many tasks came out how."""
    from rich.markup import escape
    from rich.table import Table

    shown = Table()
    for column in ("check", "ok", "warning", "failed", "skipped", "what it proves"):
        shown.add_column(column, justify="left" if column in ("check", "what it proves") else "right")
    meanings = {name: entry["meaning"] for name, entry in report.to_json()["checks"].items()}
    for name, counts in report.counts().items():
        cells = [str(counts[status] or "") for status in ("ok", "warning", "failed", "skipped")]
        style = "red" if counts["failed"] else "yellow" if counts["warning"] else None
        shown.add_row(name, *cells, escape(meanings[name]), style=style)
    return shown


def finding_lines(report: Report) -> list[str]:
    """One line a finding, errors first."""
    found = sorted(report.findings(), key=lambda pair: pair[1].severity != "error")
    lines = [f"{finding.severity}: {point.id}: {finding.check}: {finding.text}" for point, finding in found]
    if len(lines) > MOST_FINDINGS:
        lines = [*lines[:MOST_FINDINGS], f"and {len(lines) - MOST_FINDINGS} more; --json has all"]
    return lines


def summary(report: Report) -> str:
    warned = sum(any(f.severity == "warning" for f in point.findings) for point in report.points)
    bad = len(report.failed)
    words = [f"{len(report.points) - bad} of {len(report.points)} tasks are sound"]
    words += [f"{bad} are not"] if bad else []
    words += [f"{warned} with warnings"] if warned else []
    levels: dict[str, int] = {}
    for point in report.points:
        calls = point.figures.get("n_calls")
        key = "?" if calls is None else "1" if point.figures.get("one_call") else str(calls)
        levels[key] = levels.get(key, 0) + 1
    spread = ", ".join(f"{key}: {count}" for key, count in sorted(levels.items()))
    return f"{', '.join(words)}; tasks by the calls they take: {spread}"
