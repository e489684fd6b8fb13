"""Values that TOML, JSON and people write differently."""

from pathlib import Path

import pytest

from recall_env.errors import RecallError
from recall_train.config import load_config, to_toml


@pytest.mark.parametrize("name", ["2026-11-21", "2026-11-21T10:00:00", "10:00:00", "runs/\U0001f4a1 é", 'a"b\\c'])
def test_a_folder_may_have_any_name_and_survives_the_record_of_the_run(tmp_path, name):
    config = load_config([], ["--run.folder", name])
    assert config.run.folder == Path(name)
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert load_config([tmp_path / "config.toml"], []) == config


def test_a_date_in_a_file_is_text(tmp_path):
    (tmp_path / "a.toml").write_text("[run]\nfolder = 2026-11-21\n")
    assert load_config([tmp_path / "a.toml"], []).run.folder == Path("2026-11-21")


@pytest.mark.parametrize(
    ("toml", "override", "says"),
    [
        ("model = 3", ["--model.path", "x"], "section"),
        ('[model]\npath = "a"', ["--model.path.x", "1"], "--model.path.x: path is a value, not a section"),
        ("", ["--learner.lr", "inf"], "learner.lr: input should be a finite number"),
        ("", ["--learner.betas", "[2, 3]"], "learner.betas.0: input should be less than 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(tmp_path, toml, override, says):
    (tmp_path / "a.toml").write_text(toml)
    with pytest.raises(RecallError) as refusal:
        load_config([tmp_path / "a.toml"], override)
    assert says in str(refusal.value) and "\n" not in str(refusal.value)
