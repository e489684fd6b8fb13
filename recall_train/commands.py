"""The commands behind python -m recall_train, each a function from words to an exit code."""

import os
from pathlib import Path

from rich.console import Console

from recall_env.errors import RecallError
from recall_train.checkpoint import Checkpoints, can_go_on
from recall_train.config import PRESETS, Config, load_config, to_toml
from recall_train.metrics import read_metrics
from recall_train.results import commit, plot, print_results, read_results, write_results

OUT, WORDS = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True, highlight=False)


def train(words: list[str]) -> int:
    """Train, or go on training; then print before and after."""
    config, code = _config(words), commit()
    hide_gpus(config)
    can_go_on(config)
    from recall_train.preflight import check

    check(config)
    from recall_train.ranks import Ranks
    from recall_train.trainer import Interrupted, Trainer

    folder = config.run.folder
    if Ranks().rank == 0:
        WORDS.print(f"run folder: {folder}  (Ctrl-C saves; the same command goes on)")
    trainer = Trainer(config)
    try:
        trainer.run()
    except Interrupted:
        step = trainer.state.step
        WORDS.print(
            f"stopped after step {step}, saved; the same command goes on" if step else "stopped, nothing learned"
        )
        return 130
    finally:
        trainer.close()
    if trainer.ranks.rank == 0:
        _finish(config, folder, code)
    return 0


def _finish(config: Config, folder: Path, code: str) -> None:
    results = read_results(folder)
    write_results(results, folder / "results.json", commit=code, sandbox=config.env.sandbox)
    plot(results, read_metrics(folder / "metrics.jsonl"), folder / "success.png")
    print_results(results, OUT)
    model = Checkpoints(folder, config.run.keep_checkpoints).latest() / "model"
    WORDS.print(f"plot: {folder / 'success.png'}   trajectories: {folder / 'trajectories'}   model: {model}")
    WORDS.print(f"next: python -m recall_train eval {folder}")


def evaluate(words: list[str]) -> int:
    """Held-out success of the newest model of a run folder."""
    if not words or words[0].startswith("--"):
        raise RecallError("eval needs a run folder: python -m recall_train eval runs/demo")
    folder = Path(words[0])
    if not (folder / "config.toml").is_file():
        raise RecallError(f"{folder}: not a run folder (no config.toml)")
    config = load_config([folder / "config.toml"], words[1:])
    checkpoint = Checkpoints(folder, config.run.keep_checkpoints).latest()
    if checkpoint is not None:  # the model that the run began with is not needed, and may be gone
        config = load_config([folder / "config.toml"], [*words[1:], "--model.path", str(checkpoint / "model")])
    hide_gpus(config)
    if checkpoint is None:
        raise RecallError(f"{folder}: no checkpoint yet; the run saves every {config.run.save_every} steps")
    from recall_train.preflight import check

    check(config)
    from recall_train.trainer import evaluate_checkpoint

    for result in evaluate_checkpoint(config, checkpoint):
        low, high = result.interval
        OUT.print(f"{result.split}  {result.success:.1%}  95% interval {low:.1%} to {high:.1%}  n = {result.n}")
        if result.void:
            OUT.print(f"  {result.void} void episodes are not counted: a jail broke, or a task's own code")
        for family, (wins, n) in result.by_family.items():
            OUT.print(f"  {family}  {wins / n:.1%}  n = {n}")
    return 0


def plan(words: list[str]) -> int:
    """Print the resolved settings, what a step holds and what memory it takes; start nothing."""
    config = _config(words)
    from recall_train.preflight import check, estimate

    print(to_toml(config))
    for line in estimate(config):
        OUT.print(f"# {line}")
    can_go_on(config)
    check(config)
    return 0


def doctor(words: list[str]) -> int:
    """What this machine can run: packages, devices, the jail."""
    if words:
        raise RecallError(f"doctor takes no arguments, got {' '.join(words)}")
    from recall_train.preflight import survey

    good = True
    for what, ok, text in survey():
        OUT.print(f"{'ok ' if ok else 'no '} {what}: {text}")
        good &= ok
    return 0 if good else 1


def _config(words: list[str]) -> Config:
    files = []
    while words and not words[0].startswith("--"):
        files.append(Path(words[0]))
        words = words[1:]
    return load_config(files or [PRESETS / "demo.toml"], words)


def hide_gpus(config: Config) -> None:
    """Make model.device = cpu hold for engine, learner and DeepSpeed alike, each of which asks torch.

    To be called before torch first looks for a GPU. Not for vLLM, whose build decides what it runs on.
    """
    if config.model.device == "cpu" and config.engine.kind == "torch":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


COMMANDS = {"train": train, "eval": evaluate, "plan": plan, "doctor": doctor}
