"""python tools/readme_results.py [--check]: benchmarks/results/*.json -> the result blocks of README.md and docs/.

A block stands between <!-- results:NAME --> and <!-- /results:NAME -->. A name without a file is left as it is, and
said so. --check writes nothing and exits 1 when a block is not what its file says.
"""

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGES = tuple(ROOT / page for page in ("README.md", "docs/check.md", "docs/environment.md", "docs/sandbox.md"))
RESULTS = ROOT / "benchmarks" / "results"
CAPTIONS = {
    "demo": "The shipped tiny model, on two CPU cores",
    "h200": "From instruct weights, on one H200",
}
WITHOUT_GOALS_TOO = {"envs"}  # blocks that show what is beside a baseline without being held to it
SPLITS = {"test": "unseen tasks", "test_families": "families never trained on"}


def main(words: list[str]) -> int:
    """0, or 1 when --check found a block that is not what its file says."""
    checks, stale = "--check" in words, []
    for page in PAGES:
        text = page.read_text()
        if (filled := with_blocks(text)) != text:
            stale.append(str(page.relative_to(ROOT)))
            if not checks:
                page.write_text(filled)
    if checks and stale:
        print(
            f"{', '.join(stale)}: a block is not what its file says; run python tools/readme_results.py",
            file=sys.stderr,
        )
        return 1
    print(f"rewritten: {', '.join(stale) or 'nothing'}", file=sys.stderr)
    return 0


def with_blocks(text: str) -> str:
    """A page with every block filled whose file is there."""
    for name in re.findall(r"<!-- results:(\w+) -->", text):
        file = RESULTS / f"{name}.json"
        if file.is_file():
            text = with_block(text, name, block(name, json.loads(file.read_text())))
        else:
            print(f"{file.relative_to(ROOT)} is not there: block {name} left as it is", file=sys.stderr)
    return text


def with_block(text: str, name: str, content: str) -> str:
    """The text with the content of one block replaced."""
    pattern = rf"(<!-- results:{name} -->\n).*?(<!-- /results:{name} -->)"
    return re.sub(pattern, lambda found: f"{found[1]}{content}{found[2]}", text, count=1, flags=re.DOTALL)


def block(name: str, record: dict[str, Any]) -> str:
    """Markdown of one result file."""
    if "measures" in record:
        return _claims(record, goals_only=name not in WITHOUT_GOALS_TOO)
    return _checks(record) if "planted" in record else _runs(name, record)


def _checks(record: dict[str, Any]) -> str:
    """What `recall-env check` took, and found: shipped tasks, then planted defects by their check."""
    shipped, rows = record["shipped"], record["planted"]
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["check"], []).append(row)
    lines = [
        f"{shipped['tasks']:,} shipped tasks of every split: {shipped['seconds']:.0f} s in "
        f"{shipped['jobs']} processes, {shipped['tasks_per_s']:.1f} tasks a second; findings: {shipped['alarms']}. "
        f"Planted defects: {sum(row['found'] for row in rows)} of {len(rows)} found by their check.",
        "",
        "| check | found | planted defects |",
        "|---|---|---|",
    ]
    for check, planted in found.items():
        defects = [row["defect"] if row["found"] else f"**missed: {row['defect']}**" for row in planted]
        got = sum(row["found"] for row in planted)
        lines.append(f"| `{check}` | {got} of {len(planted)} | {'; '.join(defects)} |")
    told = f"`{record['command']}`, commit `{record['commit']}`, {record['hardware']}, sandbox: {record['sandbox']}"
    return "\n".join([*lines, "", f"Measured: {told}.", ""])


def _claims(record: dict[str, Any], goals_only: bool = True) -> str:
    """What the benchmarks of a subject claim: a table of every claim that has a goal, met or not, or of all of them."""
    lines = ["| measured | figure | beside | goal | |", "|---|---|---|---|---|"]
    for measure in record["measures"].values():
        for claim in measure["claims"]:
            if claim["goal"] is not None or not goals_only:
                lines.append(_claim(claim))
    made_with = sorted({(each["command"], each["commit"], each["hardware"]) for each in record["measures"].values()})
    told = "; ".join(f"`{command}`, commit `{commit}`, {hardware}" for command, commit, hardware in made_with)
    return "\n".join([*lines, "", f"Measured: {told}.", ""])


def _claim(claim: dict[str, Any]) -> str:
    def amount(value: float | None) -> str:
        return "-" if value is None else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"

    unit = f" {claim['unit']}" if claim["unit"] else ""
    beside = f"{amount(claim['baseline'])}{unit} ({claim['baseline_is']})" if claim["baseline"] is not None else "-"
    on_ratio = claim["goal_on"] == "ratio"
    goal = "-" if claim["goal"] is None else f"{claim['sense']} {amount(claim['goal'])}{'x' if on_ratio else unit}"
    came_to = f", {claim['ratio']:.2f}x" if on_ratio and claim["ratio"] is not None else ""
    verdict = {True: "met", False: "missed", None: ""}[claim["met"]]
    return f"| {claim['what']} | {amount(claim['value'])}{unit}{came_to} | {beside} | {goal} | {verdict} |"


def _runs(name: str, record: dict[str, Any]) -> str:
    """Training runs: picture if there is one, table, and what they were measured with."""
    lines = [f"**{CAPTIONS[name]}** ({record['runs'][0]['model']})", ""]
    picture = ROOT / "docs" / "images" / f"{name}.png"
    if picture.is_file():
        lines += [f"![held-out success and training reward by step]({picture.relative_to(ROOT)})", ""]
    lines += ["| held-out success | before | after | change | episodes a seed |", "|---|---|---|---|---|"]
    lines += [_row(split, record["runs"]) for split in record["runs"][0]["splits"]]
    lines += ["", _measured(record), ""]
    return "\n".join(lines)


def _row(split: str, runs: list[dict[str, Any]]) -> str:
    first = [run["splits"][split][0] for run in runs]
    last = [run["splits"][split][-1] for run in runs]
    changes = [(b["success"] - a["success"]) * 100 for a, b in zip(first, last, strict=True)]
    cells = [SPLITS.get(split, split), _rate(first), _rate(last), _points(changes), str(last[0]["n"])]
    return "| " + " | ".join(cells) + " |"


def _rate(evals: list[dict[str, Any]]) -> str:
    """One seed: rate and 95% interval. Several: mean and standard deviation over seeds."""
    if len(evals) == 1:
        return f"{evals[0]['success']:.1%} ({evals[0]['low']:.1%} to {evals[0]['high']:.1%})"
    rates = [100 * e["success"] for e in evals]
    return f"{statistics.mean(rates):.1f}% ± {statistics.stdev(rates):.1f}"


def _points(changes: list[float]) -> str:
    if len(changes) == 1:
        return f"{changes[0]:+.1f} points"
    return f"{statistics.mean(changes):+.1f} ± {statistics.stdev(changes):.1f} points"


def _measured(record: dict[str, Any]) -> str:
    runs, seeds = record["runs"], record["seeds"]
    minutes = [run["train_s"] / 60 for run in runs]
    spread = f"{min(minutes):.1f}" + (f" to {max(minutes):.1f}" if len(runs) > 1 else "")
    step = {part: statistics.median(run["step_s"][part] for run in runs) for part in runs[0]["step_s"]}
    what = (
        f"one seed ({seeds[0]}), with its 95% interval"
        if len(seeds) == 1
        else f"mean ± standard deviation over seeds {', '.join(map(str, seeds))}"
    )
    return (
        f"Measured: {what}. `{record['command']}`, commit `{record['commit']}`, {record['hardware']}. "
        f"{runs[0]['steps']} steps, {spread} minutes of training; a step takes {step['step_s']:.1f} s in the median "
        f"(rollout {step['rollout_s']:.1f}, learning {step['train_s']:.1f}, weights {step['weight_sync_s']:.2f})."
        + (f" {record['note']}" if "note" in record else "")
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
