"""Figures of finished runs, copied with what a claim needs beside them."""

import json

import pytest

from benchmarks.record import collect
from recall_env.errors import RecallError
from recall_train.config import load_config, to_toml
from recall_train.results import Results, SplitResult, write_results


def finished_run(folder, seed, *, commit="abc", sandbox="nsjail", model="recall-tiny"):
    folder.mkdir()
    config = load_config([], ["--run.seed", str(seed), "--env.sandbox", sandbox, "--model.path", model])
    (folder / "config.toml").write_text(to_toml(config))
    splits = {"test": [SplitResult(0, 0.5, 0.4, 0.6, 200, {}), SplitResult(9, 0.7, 0.6, 0.8, 200, {})]}
    results = Results(str(folder), 9, 60.0, splits, {"step_s": 6.0})
    write_results(results, folder / "results.json", commit=commit, sandbox=sandbox)
    return folder


def test_a_result_says_whether_its_tools_were_jailed(tmp_path):
    runs = [finished_run(tmp_path / "a", 1), finished_run(tmp_path / "b", 0, sandbox="unsafe")]
    assert [json.loads((run / "results.json").read_text())["sandbox"] for run in runs] == ["nsjail", "unsafe"]
    assert [run["sandbox"] for run in collect(runs, "make demo")["runs"]] == ["unsafe", "nsjail"]


def test_a_model_is_named_without_where_it_lay_and_a_note_is_kept(tmp_path):
    runs = [
        finished_run(tmp_path / "a", 0, model="Someone/Small-Instruct"),
        finished_run(tmp_path / "b", 1, model="/somewhere/small-instruct"),
    ]
    record = collect(runs, "train", note="Weights from a GGUF.")
    assert [run["model"] for run in record["runs"]] == ["Someone/Small-Instruct", "small-instruct"]
    assert record["note"] == "Weights from a GGUF." and "note" not in collect(runs, "train")


def test_runs_of_different_code_or_of_one_seed_are_no_result(tmp_path):
    first = finished_run(tmp_path / "a", 0)
    with pytest.raises(RecallError, match="the runs differ in commit: abc, abd"):
        collect([first, finished_run(tmp_path / "b", 1, commit="abd")], "make demo")
    with pytest.raises(RecallError, match="expected one run a seed"):
        collect([first, finished_run(tmp_path / "c", 0)], "make demo")
    with pytest.raises(RecallError, match="not a finished run"):
        collect([tmp_path], "make demo")
