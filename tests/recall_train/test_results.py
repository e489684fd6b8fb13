"""metrics.jsonl, also after a kill, and what is read out of it: before and after."""

import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from recall_env.errors import RecallError
from recall_train.evaluation import EvalResult
from recall_train.metrics import MetricsLog, Values, read_metrics
from recall_train.results import plot, print_results, read_results, write_results

STEP = {"reward/mean": 0.5, "rollout/success": 0.4, "perf/rollout_s": 2.0, "perf/train_s": 1.0,
        "perf/weight_sync_s": 0.1}  # fmt: skip


def evaluated(split: str, successes: int, n: int = 40) -> dict[str, float]:
    half = n // 2
    return EvalResult(split, n, successes, 0, 2.5, {"chain": (successes, half), "date": (0, half)}).metrics()


def open_log(folder: Path, resume_at: int | None = None, quiet: bool = False) -> MetricsLog:
    return MetricsLog(folder, resume_at=resume_at, wandb_mode="off", config={}, quiet=quiet)


@pytest.fixture
def run(tmp_path) -> Path:
    """Evaluated at 0, 2 and 4 of four steps, which took 1, 2, 3 and 4 seconds."""
    with open_log(tmp_path) as log:
        log.log(0, evaluated("test", 4))
        log.log(0, evaluated("other", 2))
        for step in range(1, 5):
            log.log(step, STEP | {"perf/step_s": float(step)})
            if step % 2 == 0:
                log.log(step, evaluated("test", 4 + 3 * step))
                log.log(step, evaluated("other", 2 + step))
    return tmp_path


def lines_of(run: Path) -> list[Values]:
    return read_metrics(run / "metrics.jsonl")


def test_a_line_is_on_disk_as_soon_as_it_is_logged(tmp_path):
    log = open_log(tmp_path)
    log.log(1, {"loss": 0.5})
    assert lines_of(tmp_path) == [{"step": 1, "loss": 0.5}]
    log.close()


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_last_line_cut_by_a_kill_is_left_out_and_written_over(run, cut):
    whole = lines_of(run)
    path = run / "metrics.jsonl"
    path.write_text(path.read_text()[:-cut])
    assert lines_of(run) == whole[:-1]
    with open_log(run, resume_at=4) as log:
        log.log(4, {"again": 1})
    assert lines_of(run) == [*whole[:-1], {"step": 4, "again": 1}]


def test_lines_after_the_checkpoint_are_dropped_and_those_before_it_stay(run):
    whole = lines_of(run)
    open_log(run, resume_at=2).close()
    assert lines_of(run) == [line for line in whole if line["step"] <= 2]
    assert len(lines_of(run)) == 6


def test_a_run_without_a_checkpoint_begins_its_log_again(run):
    open_log(run).close()
    assert lines_of(run) == []


def test_a_kill_while_the_log_is_opened_loses_nothing(run, monkeypatch):
    """The rename is the one moment that counts; here it never comes."""
    whole = lines_of(run)

    def killed(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        open_log(run, resume_at=2)
    assert lines_of(run) == whole


def test_the_log_knows_which_splits_an_interrupted_evaluation_had_finished(run):
    path = run / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with open_log(run, resume_at=4) as log:
        assert log.evaluated(2) == {"test", "other"}
        assert log.evaluated(4) == {"test"}
        assert log.evaluated(3) == set()


def test_numbers_that_json_has_no_word_for_become_null(tmp_path):
    with open_log(tmp_path) as log:
        log.log(1, {"loss": math.nan, "norm": math.inf, "fine": 1.0})
    assert lines_of(tmp_path) == [{"step": 1, "loss": None, "norm": None, "fine": 1.0}]


def test_other_ranks_log_nothing(tmp_path):
    with open_log(tmp_path, quiet=True) as log:
        log.log(1, {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_results_have_every_evaluation_from_before_to_after(run):
    results = read_results(run)
    assert list(results.splits) == ["test", "other"]
    assert [(e.step, e.success, e.n) for e in results.splits["test"]] == [(0, 0.1, 40), (2, 0.25, 40), (4, 0.4, 40)]
    last = results.splits["test"][-1]
    assert last.low < 0.4 < last.high and last.by_family == {"chain": 0.8, "date": 0.0}
    assert (results.steps, results.train_s, results.step_s["step_s"]) == (4, 10.0, 3.0)


def test_the_table_says_before_after_and_the_difference(run):
    console = Console(width=120)
    with console.capture() as capture:
        print_results(read_results(run), console)
    text = capture.get()
    row = next(line for line in text.splitlines() if "test " in line)
    assert "10.0%" in row and "40.0%" in row and "+30.0" in row
    assert "4 steps, 0.2 min" in text


def test_a_run_without_training_steps_has_results_too(tmp_path):
    with open_log(tmp_path) as log:
        log.log(0, evaluated("test", 4))
    results = read_results(tmp_path)
    assert (results.steps, results.step_s, len(results.splits["test"])) == (0, {}, 1)


def test_a_folder_without_an_evaluation_is_refused(tmp_path):
    for lines in ("", '{"step": 1, "reward/mean": 0.5}\n'):
        (tmp_path / "metrics.jsonl").write_text(lines)
        with pytest.raises(RecallError, match="no evaluated run here"):
            read_results(tmp_path)


def test_the_json_has_the_numbers_and_where_they_come_from(run):
    write_results(read_results(run), run / "results.json", commit="abc123+", sandbox="nsjail")
    written = json.loads((run / "results.json").read_text())
    assert [e["success"] for e in written["splits"]["test"]] == [0.1, 0.25, 0.4]
    assert (written["commit"], written["sandbox"]) == ("abc123+", "nsjail") and "cores of" in written["hardware"]


def test_the_plot_is_a_picture(run):
    plot(read_results(run), lines_of(run), run / "success.png")
    picture = (run / "success.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n") and len(picture) > 10_000
