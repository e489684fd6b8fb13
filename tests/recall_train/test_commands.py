"""plan, doctor and help, in this process. Training and its mistakes are in tests/e2e."""

import pytest

from recall_train.__main__ import USAGE, main
from recall_train.config import PRESETS, load_config


def test_plan_prints_settings_that_can_be_read_again_and_what_a_step_holds(capsys, tmp_path):
    words = [str(PRESETS / "demo.toml"), "--run.seed", "5", "--run.folder", str(tmp_path / "run")]
    assert main(["plan", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    (tmp_path / "plan.toml").write_text(out)  # the words after the settings are comments
    config = load_config([tmp_path / "plan.toml"], [])
    assert config == load_config([PRESETS / "demo.toml"], words[1:])
    comments = [line for line in out.splitlines() if line.startswith("# ")]
    assert any(line.startswith("# model: recall-tiny, ") for line in comments)
    rollout = config.rollout
    assert any(f"{rollout.tasks_per_step * rollout.group_size} episodes" in line for line in comments)
    assert not (tmp_path / "run").exists()


def test_the_doctor_finds_this_machine_able_to_train(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok ") for line in lines)
    assert {"python", "torch", "deepspeed", "sandbox jail"} <= {line[3:].split(":")[0].strip() for line in lines}


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["train", "--help"], ["plan", "-h"]])
def test_help_is_printed_whatever_stands_before_it(capsys, words):
    assert main(words) == 0
    assert capsys.readouterr().out == USAGE
