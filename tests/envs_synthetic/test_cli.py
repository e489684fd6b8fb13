"""python -m envs_synthetic as a person runs it: files, exit codes, errors of one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from envs_synthetic.generate import generate


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "envs_synthetic", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Three sound tasks, the last of them twice."""
    tasks = [generate(seed, family="lookup_chain", n_calls=(2, 2)) for seed in (0, 1, 2, 2)]
    path = tmp_path / "few.jsonl"
    path.write_text("".join(json.dumps(task.to_row()) + "\n" for task in tasks))
    return path


def test_generate_writes_the_same_parquet_twice_and_stats_counts_it(tmp_path):
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for file, jail in zip(files, ("--jail", "--no-jail"), strict=True):
        made = run("generate", "--split", "test_families", "--n", "4", "--calls", "2-3", jail, "--out", str(file))
        assert made.returncode == 0, made.stderr
        assert made.stdout == "" and "stats" in made.stderr.splitlines()[-1]
    assert files[0].read_bytes() == files[1].read_bytes()
    counted = json.loads(run("stats", str(files[0]), "--json").stdout)
    assert counted["tasks"] == 4
    assert counted["families"] == {"graph_walk": 2, "table_join": 2}


def test_verify_finds_what_is_repeated_shared_or_broken(few, tmp_path):
    rows = few.read_text().splitlines()
    other = tmp_path / "other.jsonl"
    other.write_text(rows[0] + "\n")
    broken = json.loads(rows[1])
    broken["reward_model"]["ground_truth"] = "nowhere"
    few.write_text("\n".join([rows[0], json.dumps(broken), *rows[2:], '{"question": 1}']) + "\n")
    done = run("verify", str(few), "--apart-from", str(other), "--json", "--jobs", "1")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["tasks"] == 5 and report["bad"] == 4
    assert [finding["check"] for finding in report["findings"]] == ["shared", "derivation", "repeated", "row"]


def test_verify_is_silent_about_sound_tasks(few):
    few.write_text("\n".join(few.read_text().splitlines()[:3]) + "\n")
    done = run("verify", str(few), "--jobs", "1")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines()[-1] == "3 of 3 tasks are sound"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("generate", "--split", "tests", "--out", "x.jsonl"), "did you mean 'test'"),
        (("generate", "--split", "train", "--family", "graph_walk", "--out", "x.jsonl"), "not in split 'train'"),
        (("generate", "--split", "train", "--calls", "3", "--out", "x.jsonl"), "LOW-HIGH"),
        (("generate", "--split", "train", "--out", "x.csv"), ".parquet or .jsonl"),
        (("generate", "--n", "3", "--out", "x"), "need a --split"),
        (("verify", "absent.parquet"), "absent.parquet"),
        (("stats",), "FILE"),
    ],
)
def test_what_was_asked_wrongly_is_told_in_one_line_with_exit_code_two(arguments, words):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and words in done.stderr
