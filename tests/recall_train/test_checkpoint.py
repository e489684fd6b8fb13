"""A checkpoint is whole or absent, and a run folder belongs to one set of settings."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recall_env.errors import RecallError
from recall_train.checkpoint import Checkpoints, can_go_on, claim_run, open_run, release_run
from recall_train.config import Config, load_config


def write(checkpoints: Checkpoints, step: int) -> Path:
    partial = checkpoints.begin(step)
    (partial / "model").mkdir()
    (partial / "model" / "model.safetensors").write_text(f"weights of step {step}")
    return checkpoints.commit(partial, {"step": step, "train_s": 1.5})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def config(folder: Path, *overrides: str) -> Config:
    return load_config([], ["--run.folder", str(folder), *overrides])


def begin(settings: Config) -> None:
    """Claim the folder and get as far as a first line of metrics."""
    assert not open_run(settings)
    (settings.run.folder / "metrics.jsonl").write_text('{"step": 0}\n')


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_newest_checkpoint_is_found_with_its_state(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=5)
    assert checkpoints.latest() is None
    for step in (9, 10, 100):
        write(checkpoints, step)
    assert checkpoints.latest().name == "step-000100"
    assert checkpoints.state(checkpoints.latest()) == {"step": 100, "train_s": 1.5}
    assert (checkpoints.latest() / "model" / "model.safetensors").read_text() == "weights of step 100"


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3, 4):
        write(checkpoints, step)
    assert names(tmp_path) == ["step-000003", "step-000004"]


def test_a_checkpoint_that_was_not_finished_does_not_count_and_goes_with_the_next(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    write(checkpoints, 1)
    killed = checkpoints.begin(2)
    (killed / "state.json").write_text(json.dumps({"step": 2}))  # killed just before the rename
    assert checkpoints.latest().name == "step-000001"
    write(checkpoints, 3)
    assert names(tmp_path) == ["step-000001", "step-000003"]


def test_a_fresh_checkpoint_starts_empty_where_a_kill_left_half_of_one(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    (checkpoints.begin(2) / "half").write_text("half")
    assert list(checkpoints.begin(2).iterdir()) == []


def test_a_checkpoint_whose_removal_was_cut_short_is_not_gone_on_from_and_is_removed(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    write(checkpoints, 2)
    (tmp_path / "checkpoints" / "step-000001" / "model").mkdir(parents=True)
    assert checkpoints.latest().name == "step-000002"
    (tmp_path / "checkpoints" / "step-000002" / "state.json").unlink()
    assert checkpoints.latest() is None
    write(checkpoints, 3)
    assert names(tmp_path) == ["step-000003"]


def test_the_same_settings_go_on_and_what_may_differ_is_recorded_anew(tmp_path):
    folder = tmp_path / "run"
    begin(config(folder))
    longer = config(folder, "--run.steps", "60", "--run.keep_checkpoints", "5", "--run.minutes", "3")
    assert can_go_on(longer) and open_run(longer)
    assert load_config([folder / "config.toml"], []) == longer


def test_a_moved_run_folder_goes_on(tmp_path):
    begin(config(tmp_path / "here"))
    (tmp_path / "here").rename(tmp_path / "there")
    assert open_run(config(tmp_path / "there"))


def test_other_settings_are_refused_by_name_and_value_and_nothing_is_written(tmp_path):
    folder = tmp_path / "run"
    begin(config(folder))
    before = contents(folder)
    other = config(folder, "--learner.lr", "0.5", "--run.seed", "7", "--loss.kind", "grpo", "--eval.n", "3")
    with pytest.raises(RecallError) as refusal:
        open_run(other)
    said = str(refusal.value)
    assert "loss.kind is 'dapo' there, 'grpo' here" in said and "learner.lr is 1e-06 there, 0.5 here" in said
    assert "eval.n is 200 there, 3 here" in said
    assert "run.seed" not in said  # three are enough to see what happened
    assert "--run.folder" in said and "\n" not in said
    assert contents(folder) == before


def test_a_run_that_never_began_gives_way_to_other_settings(tmp_path):
    folder = tmp_path / "run"
    assert not open_run(config(folder))
    other = config(folder, "--learner.lr", "0.5")
    assert not open_run(other)
    assert load_config([folder / "config.toml"], []) == other


def test_a_claim_cut_short_by_a_kill_can_be_made_again(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.partial").write_text("[model]\npa")
    assert not open_run(config(folder))
    assert not (folder / "config.partial").exists()


@pytest.mark.parametrize("stranger", ["notes.txt", "checkpoints"])
def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path, stranger):
    (tmp_path / stranger).write_text("mine")
    with pytest.raises(RecallError, match="not empty and not a run"):
        open_run(config(tmp_path))
    assert contents(tmp_path) == {stranger: "mine"}


def test_asking_whether_a_run_can_go_on_makes_no_folder(tmp_path):
    assert not can_go_on(config(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_run_folder_is_one_process_at_a_time(tmp_path):
    config = load_config([], ["--run.folder", str(tmp_path / "run")])
    claim_run(config)
    words = ["--run.folder", str(tmp_path / "run")]
    script = f"from recall_train.checkpoint import *; claim_run(load_config([], {words!r}))"
    second = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "another process trains in it; wait, or give --run.folder another name" in second.stderr
    release_run(config.run.folder)
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
