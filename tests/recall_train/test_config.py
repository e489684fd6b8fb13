"""Settings: presets, layers, and what is refused before any work. The odd values are in test_overrides.py."""

from pathlib import Path

import pytest

from recall_env.errors import RecallError
from recall_train.config import PRESETS, Config, load_config, to_toml

SHIPPED = sorted(PRESETS.glob("*.toml"))
UNUSUAL = {
    "data.families": '["lookup_chain", "date_unit"]', "data.eval_splits": "[]", "learner.betas": "[0.8, 0.99]",
    "rollout.deterministic": "false", "run.minutes": "0.5", "run.folder": '"a \\\\ b"', "learner.lr": "1e-7",
}  # fmt: skip


def refusal(files: list[Path], *overrides: str) -> str:
    with pytest.raises(RecallError) as caught:
        load_config(files, list(overrides))
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_presets_are_shipped():
    assert {"demo.toml", "grpo.toml"} <= {path.name for path in SHIPPED}


@pytest.mark.parametrize("preset", SHIPPED, ids=lambda path: path.stem)
def test_every_preset_survives_being_written_as_toml_and_read_again(preset, tmp_path):
    config = load_config([preset], [])
    assert config != Config()
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert load_config([tmp_path / "config.toml"], []) == config


def test_every_kind_of_value_survives_being_written_as_toml_and_read_again(tmp_path):
    config = load_config([], [word for key, value in UNUSUAL.items() for word in (f"--{key}", value)])
    assert config.data.families == ("lookup_chain", "date_unit") and config.data.eval_splits == ()
    assert config.learner.betas == (0.8, 0.99) and not config.rollout.deterministic
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert load_config([tmp_path / "config.toml"], []) == config


def test_later_layers_win_and_leave_the_rest(tmp_path):
    (tmp_path / "first.toml").write_text("[learner]\nlr = 1e-3\nwarmup_updates = 4\n[run]\nseed = 1\n")
    (tmp_path / "second.toml").write_text("[learner]\nlr = 1e-4\n")
    files = [tmp_path / "first.toml", tmp_path / "second.toml"]
    config = load_config(files, ["--run.seed=2", "--run.seed", "3"])
    assert (config.learner.lr, config.learner.warmup_updates, config.run.seed) == (1e-4, 4, 3)
    assert config.learner.betas == Config().learner.betas


def test_an_override_needs_no_quotes_for_text():
    config = load_config([], ["--model.path", "Qwen/Qwen2.5-7B-Instruct", "--run.folder=runs/a b"])
    assert config.model.path == "Qwen/Qwen2.5-7B-Instruct" and config.run.folder == Path("runs/a b")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--learner.learning_rate", "1"], "learner.learning_rate: no such setting"),
        (["--learner.lrr", "1"], "did you mean learner.lr?"),
        (["--zzz.lr", "1"], "known here: model, data, env"),
        (["--learner.lr", "0"], "learner.lr: input should be greater than 0, got 0"),
        (["--learner.lr", "true"], "learner.lr: input should be a valid number, got True"),
        (["--run.steps", "2.5"], "run.steps: input should be a valid integer, got 2.5"),
        (["--run.steps", '"3"'], "run.steps: input should be a valid integer, got '3'"),
        (["--loss.kind", "ppo"], "loss.kind: input should be 'grpo'"),
        (["--run", "3"], "--run: expected an override like"),
        (["--run.steps"], "--run.steps: a value is missing"),
        (["demo.toml"], "demo.toml: expected an override like"),
        (["--model.dtype", "bfloat16"], "needs learner.zero_stage 2 or 3"),
        (["--loss.kind", "gspo"], "give it --loss.clip_low 3e-4 --loss.clip_high 4e-4"),
        (["--env.dialect", "submit", "--env.rubric", "recall"], "env.rubric = recall pays for a box"),
        (["--engine.max_context", "128"], "rollout.max_turn_tokens (128) must be below engine.max_context (128)"),
    ],
)
def test_a_wrong_override_is_refused_with_what_was_expected(words, says):
    assert says in refusal([], *words)


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[learner]\nlrr = 1", "learner.lrr: no such setting; did you mean learner.lr?"),
        ("lr = 1", "lr: no such setting"),
        ("learner = 1", "learner: expected a section with lr, "),
        ("[learner\nlr = 1", "not a TOML file"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path, toml, says):
    (tmp_path / "mine.toml").write_text(toml)
    said = refusal([PRESETS / "demo.toml", tmp_path / "mine.toml"])
    assert said.startswith(f"{tmp_path / 'mine.toml'}: ") and says in said


def test_a_file_that_does_not_exist_and_a_folder_are_refused_by_name(tmp_path):
    assert refusal([tmp_path / "gone.toml"]).startswith(f"{tmp_path / 'gone.toml'}: no such file; shipped presets")
    assert refusal([tmp_path]).startswith(f"{tmp_path}: not a TOML file")
