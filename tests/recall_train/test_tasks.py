"""Which data points a run trains on."""

import json
from dataclasses import replace

import pytest

from recall_env.errors import RecallError
from recall_train.config import load_config
from recall_train.tasks import check_held_out, eval_tasks, training_tasks


def config_of(tmp_path, tasks, *overrides):
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(task.to_row()) + "\n" for task in tasks))
    return load_config([], ["--data.dataset", str(tmp_path / "mine.jsonl"), *overrides])


def test_rows_without_a_gold_solution_are_trained_on(tmp_path, price_task):
    assert len(training_tasks(config_of(tmp_path, [replace(price_task, solution=None)]))) == 1


def test_tasks_known_to_be_too_long_are_left_out(tmp_path, price_task):
    tasks = [replace(price_task, id=f"needs-{n}", n_calls=n) for n in (2, 3, 4)]
    assert training_tasks(config_of(tmp_path, tasks, "--data.max_calls", "3")).ids == ("needs-2", "needs-3")
    with pytest.raises(RecallError, match=r"no task of .* is left after"):
        training_tasks(config_of(tmp_path, tasks, "--data.max_calls", "1"))


def test_a_curriculum_with_nothing_to_begin_with_is_refused(tmp_path, price_task):
    long = replace(price_task, n_calls=3)
    with pytest.raises(RecallError, match="begins at 2 calls, and every task here needs more"):
        training_tasks(config_of(tmp_path, [long], "--data.curriculum_steps", "5"))


def test_what_is_trained_on_is_not_called_held_out(tmp_path, price_task):
    with pytest.raises(RecallError, match=r"mine\.jsonl is one file, .* mine-train\.jsonl and mine-test\.jsonl"):
        check_held_out(config_of(tmp_path, [price_task]))
    with pytest.raises(RecallError, match=r"train is the split that is trained on"):
        check_held_out(load_config([], ["--data.eval_splits", '["test", "train"]']))
    with pytest.raises(RecallError, match="at least one split"):
        check_held_out(load_config([], ["--data.eval_splits", "[]"]))
    (tmp_path / "mine").mkdir()
    for split in ("train", "test"):
        (tmp_path / "mine" / f"mine-{split}.jsonl").write_text(json.dumps(price_task.to_row()) + "\n")
    config = load_config([], ["--data.dataset", str(tmp_path / "mine"), "--data.eval_splits", '["test"]'])
    check_held_out(config)
    assert len(training_tasks(config)) == len(eval_tasks(config)["test"]) == 1


def test_a_contributed_environment_is_trained_on_when_it_has_splits(define, tmp_path):
    line = json.dumps({"question": "What?", "ground_truth": "1"})
    text = """
    from recall_env import ToolEnv, tool

    class Split(ToolEnv, id="Contrib/Split-v0"):
        tasks = "lines"

        @tool
        def get(self, key: str) -> str:
            "Get."
            return key
    """
    define(text, "split_env")
    config = load_config([], ["--data.dataset", "Contrib/Split-v0", "--data.eval_splits", '["test"]'])
    (tmp_path / "lines").write_text(line)
    with pytest.raises(RecallError, match=r"has one set of tasks, .* a folder with train\.jsonl and test\.jsonl"):
        check_held_out(config)
    (tmp_path / "lines").unlink()
    (tmp_path / "lines").mkdir()
    for split in ("train", "test"):
        (tmp_path / "lines" / f"{split}.jsonl").write_text(line)
    check_held_out(config)
    assert len(training_tasks(config)) == len(eval_tasks(config)["test"]) == 1
