"""The plain line of a step."""

from recall_train.progress import Progress

VALUES = {
    "reward/mean": 0.5, "rollout/success": 0.5, "tools/calls": 2.0, "perf/rollout_s": 100.0, "perf/train_s": 20.0,
    "perf/weight_sync_s": 0.1, "perf/step_s": 120.0,
}  # fmt: skip


def test_the_time_left_is_that_of_the_steps_or_of_the_minutes_whichever_comes_first(capsys):
    progress = Progress()
    progress.step(1, 31, VALUES)
    progress.step(2, 31, VALUES, most_s=90)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("step   1/31  reward 0.500") and first.endswith("left 60.0 min")
    assert second.endswith("left 1.5 min")
