"""Killed, interrupted or run once more: the same command ends with the same weights and the same metrics."""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from recall_train.metrics import Values, read_metrics
from recall_train.models import model_folder
from recall_train.trajectory import read_trajectories

# The rubric gives credit for the calls made, so that nearly every group has something to teach.
SMALL = {
    "run.folder": "run", "run.steps": 4, "run.save_every": 1, "data.max_calls": 2, "env.rubric": "progress",
    "env.max_turns": 3, "env.workers": 2, "rollout.tasks_per_step": 2, "rollout.group_size": 4,
    "engine.max_running": 16, "engine.max_context": 640, "eval.n": 4, "eval.every": 2, "learner.lr": 1e-3,
    "rollout.max_refills": 0.5,
}  # fmt: skip
TIMING = ("perf/", "rollout/tokens_per_s", "rollout/env_wait_s", "tools/latency_s")
PATIENCE_S = 120.0


def words(**changes: Any) -> list[str]:
    settings = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    return [word for key, value in settings.items() for word in (f"--{key}", str(value))]


@dataclass
class Command:
    """The training command of one folder, to be started as often as a test likes."""

    folder: Path
    start: Callable[..., subprocess.Popen]

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def finish(self, **changes: Any) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a start that is left alone."""
        process = self.start(words(**changes), self.folder)
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out, err

    def stop(self, number: signal.Signals, when: Callable[[Path], bool]) -> tuple[int, str]:
        """Start, send the signal as soon as `when(run folder)` holds; exit code and stderr."""
        process = self.start(words(), self.folder)
        deadline = time.monotonic() + PATIENCE_S
        while not when(self.run):
            assert process.poll() is None, f"ended before the moment came: {process.communicate()[1]}"
            assert time.monotonic() < deadline, "the moment never came"
            time.sleep(0.001)
        process.send_signal(number)
        err = process.communicate(timeout=PATIENCE_S)[1]
        return process.returncode, err


@pytest.fixture(scope="module")
def make_command(start_command, tmp_path_factory) -> Callable[[str], Command]:
    return lambda name: Command(tmp_path_factory.mktemp(name), start_command)


@pytest.fixture(scope="module")
def beside() -> Iterator[Executor]:
    """Runs scenarios beside each other; most of a short run is imports."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(scope="module")
def to_end(beside, make_command) -> Future[Command]:
    """A run that nothing disturbs; its words to stdout lie beside its folder."""

    def play(command: Command) -> Command:
        code, out, err = command.finish()
        assert code == 0, err
        (command.folder / "out").write_text(out)
        return command

    return beside.submit(play, make_command("whole"))


@pytest.fixture(scope="module")
def killed_twice(beside, make_command) -> Future[Command]:
    """Killed once when step 2 of 4 is logged, once while checkpoint 3 is written, then left alone."""

    def play(command: Command) -> Command:
        code, _ = command.stop(signal.SIGKILL, step_logged(2))
        assert code == -signal.SIGKILL
        assert max(line["step"] for line in read_metrics(command.run / "metrics.jsonl")) < 4
        code, _ = command.stop(signal.SIGKILL, exists("checkpoints/partial-000003"))
        assert code == -signal.SIGKILL
        assert newest(command.run).name == "step-000002", "the kill was to come before the checkpoint was whole"
        code, _, err = command.finish()
        assert code == 0, err
        assert "going on from step 2" in err
        return command

    return beside.submit(play, make_command("killed"))


@pytest.fixture(scope="module")
def stopped_once(beside, make_command) -> Future[Command]:
    """Ctrl-C between the two splits of an evaluation, then left alone."""

    def play(command: Command) -> Command:
        code, err = command.stop(signal.SIGINT, exists("trajectories/eval-test_families-000002.partial"))
        assert code == 130, err
        assert "stopped after step 2, saved; the same command goes on" in err
        assert "Traceback" not in err
        code, _, err = command.finish()
        assert code == 0, err
        return command

    return beside.submit(play, make_command("stopped"))


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and the run's files after it, by what lies at the top of its folder."""

    code: int
    out: str
    err: str
    metrics: list[Values]
    files: dict[str, dict[str, str]]

    @staticmethod
    def of(command: Command, code: int, out: str, err: str) -> "Outcome":
        return Outcome(
            code,
            out,
            err,
            read_metrics(command.run / "metrics.jsonl"),
            {path.name: snapshot(path) for path in command.run.iterdir()},
        )


def copy_of(whole: Command, command: Command) -> Outcome:
    shutil.copytree(whole.run, command.run)
    return Outcome.of(command, 0, (whole.folder / "out").read_text(), "")


@pytest.fixture(scope="module")
def run_again(to_end, beside, make_command) -> Future[tuple[Outcome, Outcome]]:
    """A copy of the finished run, and what the same command made of it."""

    def play(command: Command) -> tuple[Outcome, Outcome]:
        before = copy_of(to_end.result(), command)
        return before, Outcome.of(command, *command.finish())

    return beside.submit(play, make_command("again"))


@pytest.fixture(scope="module")
def evaluated(to_end, beside, make_command) -> Future[tuple[Outcome, Outcome]]:
    """A copy of the finished run, and what `eval` said of it."""

    def play(command: Command) -> tuple[Outcome, Outcome]:
        before = copy_of(to_end.result(), command)
        process = command.start(["eval", "run"], command.folder)
        out, err = process.communicate(timeout=PATIENCE_S)
        return before, Outcome.of(command, process.returncode, out, err)

    return beside.submit(play, make_command("evaluated"))


@pytest.fixture(scope="module")
def whole(to_end) -> Command:
    return to_end.result()


def step_logged(step: int) -> Callable[[Path], bool]:
    return lambda run: any(line["step"] >= step for line in read_metrics(run / "metrics.jsonl"))


def exists(name: str) -> Callable[[Path], bool]:
    return lambda run: (run / name).exists()


def newest(run: Path) -> Path:
    return max((run / "checkpoints").glob("step-*"))


def untimed(run: Path) -> list[Values]:
    lines = read_metrics(run / "metrics.jsonl")
    return [{key: value for key, value in line.items() if not key.startswith(TIMING)} for line in lines]


def tensors(value: Any, at: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in nested dicts and lists, by its path."""
    if isinstance(value, torch.Tensor):
        yield at, value
    elif isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from tensors(part, f"{at}/{key}")


def learner_state(checkpoint: Path) -> dict[str, torch.Tensor]:
    file = checkpoint / "learner" / "state" / "mp_rank_00_model_states.pt"
    return dict(tensors(torch.load(file, weights_only=False)))


def assert_same_bits(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours and ours.keys() == theirs.keys()
    differing = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert not differing


def assert_same_run(run: Path, whole: Path) -> None:
    """Weights, optimiser and counters, metrics and trajectories: all but times."""
    ours, theirs = newest(run), newest(whole)
    assert ours.name == theirs.name == "step-000004"
    assert_same_bits(load_file(ours / "model" / "model.safetensors"), load_file(theirs / "model" / "model.safetensors"))
    assert_same_bits(learner_state(ours), learner_state(theirs))
    counters = [json.loads((checkpoint / "learner" / "learner.json").read_text()) for checkpoint in (ours, theirs)]
    assert counters[0] == counters[1]
    assert untimed(run) == untimed(whole)
    played = [sorted(path.name for path in (folder / "trajectories").iterdir()) for folder in (run, whole)]
    assert played[0] == played[1]
    for name in played[0]:
        pair = [read_trajectories(folder / "trajectories" / name) for folder in (run, whole)]
        assert [(t.ids, t.logprobs, t.reward) for t in pair[0]] == [(t.ids, t.logprobs, t.reward) for t in pair[1]]


def snapshot(folder: Path) -> dict[str, str]:
    """Time and content of each file, by its name in the folder, or of the one file."""
    files = [path for path in (folder, *folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(folder)): f"{path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in files
    }


def test_the_undisturbed_run_really_learns(to_end, killed_twice, stopped_once, run_again, evaluated):  # all begin here
    whole = to_end.result()
    updates = [line["optim/updates"] for line in untimed(whole.run) if "optim/updates" in line]
    assert len(updates) == 4 and sum(count > 0 for count in updates) >= 2
    start = load_file(Path(model_folder("recall-tiny")) / "model.safetensors")
    end = load_file(newest(whole.run) / "model" / "model.safetensors")
    assert start.keys() == end.keys()
    assert any(not torch.equal(start[name], end[name]) for name in start)
    evaluated = [line["step"] for line in untimed(whole.run) if "eval/test/n" in line]
    assert evaluated == [0, 2, 4]


def test_a_run_killed_between_and_within_writes_ends_as_if_it_had_not_been(whole, killed_twice):
    killed = killed_twice.result()
    assert_same_run(killed.run, whole.run)
    assert not list((killed.run / "checkpoints").glob("partial-*"))


def test_ctrl_c_in_an_evaluation_saves_and_the_same_command_goes_on(whole, stopped_once):
    assert_same_run(stopped_once.result().run, whole.run)


def test_a_rerun_with_other_settings_is_refused_and_changes_nothing(whole):
    before = snapshot(whole.run)
    code, out, err = whole.finish(learner__lr=5e-4)
    assert (code, out) == (2, "")
    assert err == (
        "recall_train: run: holds a run with other settings (learner.lr is 0.001 there, 0.0005 here); "
        "give --run.folder another name\n"
    )
    assert snapshot(whole.run) == before


def test_a_finished_run_prints_its_results_again_without_playing(whole, run_again):
    before, again = run_again.result()
    assert "held-out success, 4 steps" in before.out
    assert (again.code, again.out) == (0, before.out), again.err
    assert again.metrics == before.metrics
    for name in ("checkpoints", "trajectories"):
        assert again.files[name] == before.files[name]


def test_eval_of_a_finished_run_plays_its_last_evaluation_again(whole, evaluated):
    before, after = evaluated.result()
    assert after.code == 0, after.err
    last = {key: value for line in untimed(whole.run) if line["step"] == 4 for key, value in line.items()}
    for split in ("test", "test_families"):
        (line,) = [line for line in after.out.splitlines() if line.split()[:1] == [split]]
        assert line.startswith(f"{split}  {last[f'eval/{split}/success']:.1%}  95% interval") and line.endswith("n = 4")
    assert after.files == before.files


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_if_it_had_not_been(whole, make_command):
    killed, draw = make_command("random"), random.Random(0)
    for _ in range(4):
        started, delay = time.time_ns(), draw.uniform(0.0, 2.5)

        def claimed_and_waited(run: Path, started: int = started, delay: float = delay) -> bool:
            record = run / "config.toml"
            return record.exists() and record.stat().st_mtime_ns > started and not time.sleep(delay)

        code, err = killed.stop(signal.SIGKILL, claimed_and_waited)
        assert code in (-signal.SIGKILL, 0), err  # 0: a fast machine is through before the last kill
    code, _, err = killed.finish()
    assert code == 0, err
    assert_same_run(killed.run, whole.run)


@pytest.mark.slow
def test_ctrl_c_in_the_last_evaluation_is_made_up_for(whole, make_command):
    stopped = make_command("last")
    code, err = stopped.stop(signal.SIGINT, exists("trajectories/eval-test-000004.partial"))
    assert code == 130, err
    code, out, err = stopped.finish()
    assert code == 0, err
    assert out.splitlines()[1:] == (whole.folder / "out").read_text().splitlines()[1:]  # the title has the time taken
    assert_same_run(stopped.run, whole.run)


@pytest.mark.slow
def test_ctrl_c_in_a_rollout_saves_the_last_whole_step(whole, make_command):
    stopped = make_command("rollout")
    code, err = stopped.stop(signal.SIGINT, exists("checkpoints/step-000003"))
    assert code == 130 and "stopped after step 3, saved" in err, err
    code, _, err = stopped.finish()
    assert code == 0, err
    assert_same_run(stopped.run, whole.run)
