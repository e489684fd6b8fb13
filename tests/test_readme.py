"""README and docs as tests: their Python runs, their commands and files exist, their figures come from files."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from recall_train.commands import COMMANDS
from recall_train.config import load_config

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)[^)]*\)")
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"`((?:recall_env|recall_train|envs_synthetic|benchmarks|docs|tests)/[\w./-]+|tools/[\w-]+\.\w+)`")


def python_blocks() -> list:
    return [
        pytest.param(block, id=f"{page.name}-{number}")
        for page in PAGES
        for number, block in enumerate(BLOCK.findall(page.read_text()), start=1)
    ]


def commands() -> list[list[str]]:
    """Every command line of ours in a shell block, as words, without its comment."""
    lines = [line for page in PAGES for shell in SHELL.findall(page.read_text()) for line in shell.splitlines()]
    split = [shlex.split(line, comments=True) for line in lines]
    return [words for words in split if words[:2] == ["python", "-m"] or words[:1] in (["recall-env"], ["deepspeed"])]


@pytest.mark.parametrize("block", python_blocks())
def test_a_python_block_runs_as_it_stands(block, tmp_path):
    (tmp_path / "block.py").write_text(block)  # a file, for a ToolEnv reads its own
    done = subprocess.run([sys.executable, "block.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for expected in re.findall(r"# -> (.*)$", block, re.MULTILINE):  # what a comment promises is printed
        assert expected in done.stdout


def test_the_readme_has_a_block_that_ends_in_a_reward():
    block = BLOCK.search((ROOT / "README.md").read_text())[1]
    assert "print(reward" in block.splitlines()[-1] and len(block.splitlines()) <= 20


@pytest.mark.parametrize("page", ["README.md", "docs/contribute.md"])
def test_the_class_that_is_shown_has_at_most_15_lines(page):
    block = next(block for block in BLOCK.findall((ROOT / page).read_text()) if "(ToolEnv" in block)
    shown = re.search(r"^from recall_env.*?(?=^env = )", block, re.DOTALL | re.MULTILINE)[0]
    lines = [line for line in shown.splitlines() if line.strip()]
    assert len(lines) <= 15


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_of_the_pages_is_one_that_exists(words):
    if "recall_train" in words:
        rest = words[words.index("recall_train") + 1 :]
        if rest and rest[0] in COMMANDS:
            rest = rest[1:]
        files = [Path(word) for word in rest if word.endswith(".toml")]
        flags = next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest))
        assert all((ROOT / file).is_file() for file in files)
        load_config([ROOT / file for file in files], rest[flags:])
        return
    start = [sys.executable, *words[1:3]] if words[0] == "python" else [str(Path(sys.executable).with_name(words[0]))]
    rest = words[3:] if words[0] == "python" else words[1:]
    sub = [rest[0]] if rest and not rest[0].startswith("-") else []
    done = subprocess.run([*start, *sub, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert re.search("example", done.stdout, re.IGNORECASE)
    unknown = [word for word in rest if word.startswith("-") and not re.search(rf"(?<![\w-]){word}\b", done.stdout)]
    assert unknown == [], done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page):
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_named_in_code_marks_exists(page):
    assert [name for name in FILE.findall(page.read_text()) if not (ROOT / name).exists()] == []


def test_result_blocks_say_what_their_files_say():
    done = subprocess.run(
        [sys.executable, "tools/readme_results.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_result_block_shows_mean_deviation_and_where_it_was_measured():
    spec = importlib.util.spec_from_file_location("readme_results", ROOT / "tools" / "readme_results.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def run(seed: int, before: float, after: float) -> dict:
        evals = [{"success": s, "low": s - 0.05, "high": s + 0.05, "n": 200} for s in (before, after)]
        step = {"rollout_s": 4.0, "train_s": 5.0, "weight_sync_s": 0.1, "step_s": 9.5}
        return {"seed": seed, "model": "m", "steps": 9, "train_s": 60.0, "step_s": step, "splits": {"test": evals}}

    record = {"command": "make demo", "commit": "abc", "hardware": "2 cores", "seeds": [0], "runs": [run(0, 0.3, 0.6)]}
    one = tool.block("demo", record)
    assert "30.0% (25.0% to 35.0%)" in one and "+30.0 points" in one and "`make demo`, commit `abc`, 2 cores" in one
    two = tool.block("demo", {**record, "seeds": [0, 1], "runs": [run(0, 0.3, 0.6), run(1, 0.4, 0.6)]})
    assert "35.0% ± 7.1" in two and "+25.0 ± 7.1 points" in two
    claim = {
        "what": "calls",
        "value": 5400.0,
        "unit": "calls/s",
        "baseline": 900.0,
        "baseline_is": "theirs",
        "ratio": 6.0,
    }
    claim |= {"sense": "at least", "goal": 7.0, "goal_on": "ratio", "met": False}
    measured = {
        "command": "measure",
        "commit": "abc",
        "hardware": "2 cores",
        "claims": [claim, {**claim, "goal": None}],
    }
    claims = tool.block("sandbox", {"measures": {"calls": measured}})
    assert (
        claims.count("| calls |") == 1
        and "5,400 calls/s, 6.00x | 900 calls/s (theirs) | at least 7x | missed" in claims
    )
    row = {"defect": "a socket", "check": "gate", "found": True}
    shipped = {"tasks": 1000, "seconds": 264.6, "jobs": 2, "tasks_per_s": 3.78, "alarms": 0}
    checked = {"command": "check", "commit": "abc", "hardware": "2 cores", "sandbox": "root", "shipped": shipped}
    checks = tool.block("check", {**checked, "planted": [row, {**row, "defect": "a clock", "found": False}]})
    assert "1,000 shipped tasks" in checks and "findings: 0" in checks and "1 of 2 found by their check" in checks
    assert "| `gate` | 1 of 2 | a socket; **missed: a clock** |" in checks
    text = "a\n<!-- results:demo -->\nold\n<!-- /results:demo -->\nb"
    assert tool.with_block(text, "demo", "new\n") == text.replace("old", "new")
