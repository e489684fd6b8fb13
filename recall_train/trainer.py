"""The loop over steps: play groups, learn from them, hand the weights to the engine, evaluate, save.

One process per rank. Each rank plays its share of the groups on its own engine; the learner sums over ranks.
Everything a rerun needs is in the run folder; killed at any moment, the same command goes on from the last checkpoint.
"""

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np

from recall_env.dialect import DIALECTS
from recall_env.env import SynToolEnv
from recall_env.episode_file import origin_of
from recall_env.sandbox.broker import read_addresses
from recall_env.task import Task
from recall_env.taskset import TaskSet
from recall_env.vector import EnvPool
from recall_train import weights
from recall_train.checkpoint import Checkpoints, claim_run, open_run, release_run
from recall_train.config import Config
from recall_train.engine import make_engine
from recall_train.engine.base import Engine
from recall_train.evaluation import EvalResult, evaluate
from recall_train.learner import Learner, start_process_group
from recall_train.metrics import MetricsLog
from recall_train.models import model_folder
from recall_train.progress import Progress
from recall_train.ranks import Ranks
from recall_train.rollout import Rollout, check_infra, collect_groups, mix_seed
from recall_train.rollout_metrics import rollout_metrics
from recall_train.samples import samples_of
from recall_train.tasks import eval_tasks, training_tasks
from recall_train.tokens import ChatTokens
from recall_train.trajectory import Trajectory, TrajectoryFile

EVAL_SEED = 20_000  # evaluations of all steps and runs play the same episodes, so that they can be compared


class Interrupted(Exception):
    """Ctrl-C, at a point where everything can be saved."""


@dataclass
class RunState:
    """What changes from step to step, outside of the learner."""

    step: int = 0  # trainer steps done; also the version of the weights
    train_s: float = 0.0  # wall-clock seconds of training so far, evaluation and start-up apart


class Trainer:
    """One run. Build it, call `run()`, and read the run folder."""

    def __init__(self, config: Config):
        """Raises RecallError for anything a person can fix, before the model is loaded where that is possible."""
        self.config = config
        self.folder = config.run.folder
        model = model_folder(config.model.path)
        self.tasks, self.eval_tasks = training_tasks(config), eval_tasks(config)
        self.tokens = ChatTokens(model)
        self.ranks = Ranks()
        if self.ranks.size > 1:
            start_process_group()  # before anything that the ranks do together
        self.ranks.first(lambda: claim_run(config))
        self.resumed = self.ranks.first(lambda: open_run(config))
        self.checkpoints = Checkpoints(self.folder, config.run.keep_checkpoints)
        self.state = RunState()
        self.learner = Learner(
            model, config.model, config.learner, config.loss, seed=config.run.seed,
            temperature=config.rollout.temperature,
        )  # fmt: skip
        # After the learner, whose process group vLLM finds in place.
        self.engine = make_engine(config, model, self.tokens.stop_ids)
        self.pool = EnvPool(
            lambda: make_env(config), size=config.engine.max_running, workers=config.env.workers or None
        )
        self.rollout = make_rollout(config, self.engine, self.pool, self.tokens)
        self.progress = Progress(quiet=self.ranks.rank != 0)
        self._stop_requested = False

    def run(self) -> dict[int, dict[str, EvalResult]]:
        """Train to the last step. Returns the evaluations made by this process, by step and split.

        Raises Interrupted after Ctrl-C, with the last whole step saved.
        """
        config = self.config
        self._resume()
        previous = signal.signal(signal.SIGINT, self._on_sigint)
        evals: dict[int, dict[str, EvalResult]] = {}
        log = MetricsLog(self.folder, resume_at=self.state.step or None, wandb_mode=config.run.wandb,
                         config=config.model_dump(mode="json"), quiet=self.ranks.rank != 0)  # fmt: skip
        try:
            with log:
                while True:
                    step, last = self.state.step, self._finished()
                    due = step == 0 or last or (config.eval.every and step % config.eval.every == 0)
                    if due:
                        evals[step] = self._evaluate(log)
                    if last or step % config.run.save_every == 0:
                        self._save()
                    if any(self.ranks.gather(self._stop_requested)):
                        raise Interrupted
                    if last:
                        break
                    self._train_step(log)
        except Interrupted:
            self._save()
            raise
        finally:
            signal.signal(signal.SIGINT, previous)
            self.progress.close()
        return evals

    def close(self) -> None:
        """End jails, threads and the engine, and let go of the run folder."""
        self.pool.close()
        self.engine.close()
        self.learner.close()
        release_run(self.folder)

    def _finished(self) -> bool:
        run = self.config.run
        return self.state.step >= run.steps or (run.minutes > 0 and self.state.train_s >= run.minutes * 60)

    def _train_step(self, log: MetricsLog) -> None:
        """One step: weights to the engine, G trajectories of each task, one batch to the learner."""
        began = time.perf_counter()
        sync_s = self._sync()
        groups = self._collect()
        rollout_s = time.perf_counter() - began - sync_s
        played = [t for group in groups for t in group]
        check_infra(played, self.config.rollout.max_infra_frac, self.ranks)
        self.engine.sleep()
        train_began = time.perf_counter()
        samples = samples_of(groups, self.config, self.ranks)
        learned = self.learner.step(samples)
        train_s = time.perf_counter() - train_began
        learned |= self.learner.cost(samples, train_s)
        self.state.step += 1
        step_s = time.perf_counter() - began
        self.state.train_s += self.ranks.first(lambda: step_s)  # one clock decides for all when run.minutes are over
        values = rollout_metrics(groups, self.rollout.stats, self.ranks) | learned | {
            "perf/rollout_s": rollout_s, "perf/train_s": train_s, "perf/weight_sync_s": sync_s, "perf/step_s": step_s,
            "perf/trained_tokens_per_s": learned["batch/trained_tokens"] / max(train_s, 1e-9),
        }  # fmt: skip
        with self._trajectory_file("train", self.tasks) as file:
            for trajectory in played:
                file.write(trajectory)
        log.log(self.state.step, values)
        run = self.config.run
        most_s = max(0.0, run.minutes * 60 - self.state.train_s) if run.minutes else math.inf
        self.progress.step(self.state.step, run.steps, values, most_s)

    def _collect(self) -> list[list[Trajectory]]:
        config, rollout = self.config, self.config.rollout
        seed = mix_seed(config.run.seed, self.state.step)
        tasks = self._eligible()
        order = np.random.default_rng(seed).permutation(len(tasks))
        share = self.ranks.share(rollout.tasks_per_step)
        refills = int(rollout.max_refills * rollout.tasks_per_step) if rollout.refill else 0

        def draw(number: int) -> Task:
            return tasks[int(order[(number * self.ranks.size + self.ranks.rank) % len(order)])]

        bar = self.progress.phase(f"step {self.state.step + 1}/{config.run.steps} rollout", share * rollout.group_size)
        return collect_groups(
            self.rollout, draw, tasks=share, group_size=rollout.group_size, seed=mix_seed(seed, self.ranks.rank),
            max_refills=self.ranks.share(refills), on_end=self._watched(bar),
        )  # fmt: skip

    def _eligible(self) -> TaskSet:
        """The training tasks of this step: the curriculum lets the longest gold solution grow from 2 calls."""
        data = self.config.data
        if not data.curriculum_steps:
            return self.tasks
        grown = 2 + (data.max_calls - 2) * min(1.0, self.state.step / data.curriculum_steps)
        return self.tasks.select(max_calls=int(grown))

    def _evaluate(self, log: MetricsLog) -> dict[str, EvalResult]:
        """Success on every evaluation split not yet in the log, with the learner's weights of now."""
        settings, results = self.config.eval, {}
        logged = self.ranks.first(lambda: log.evaluated(self.state.step))
        todo = {split: tasks for split, tasks in self.eval_tasks.items() if split not in logged}
        if todo:
            self._sync()
        for split, tasks in todo.items():
            bar = self.progress.phase(f"step {self.state.step} eval {split}", self.ranks.share(settings.n))
            with self._trajectory_file(f"eval-{split}", tasks) as file:
                watched = self._watched(bar)

                def on_end(trajectory: Trajectory, file: TrajectoryFile = file, watched: Callable = watched) -> None:
                    file.write(trajectory)
                    watched(trajectory)

                results[split] = evaluate(
                    self.rollout, tasks, split, n=settings.n, seed=EVAL_SEED, temperature=settings.temperature,
                    max_infra_frac=self.config.rollout.max_infra_frac, on_end=on_end, ranks=self.ranks,
                )  # fmt: skip
            log.log(self.state.step, results[split].metrics())
            self.progress.evaluated(self.state.step, results[split])
        return results

    def _sync(self) -> float:
        """Hand the learner's weights to the engine; its caches start empty, so a resumed run meets the same state."""
        began = time.perf_counter()
        weights.sync(self.learner, self.engine, self.state.step)
        return time.perf_counter() - began

    def _resume(self) -> None:
        checkpoint = self.checkpoints.latest() if self.resumed else None
        if checkpoint is None:
            return
        self.learner.load_checkpoint(checkpoint / "learner")
        self.state = RunState(**self.checkpoints.state(checkpoint))
        self.progress.note(f"going on from step {self.state.step} ({checkpoint})")

    def _save(self) -> None:
        """Write a checkpoint of the last whole step, unless it is there or nothing was learned yet."""
        latest = self.checkpoints.latest()
        if self.state.step == 0 or (latest and self.checkpoints.state(latest)["step"] == self.state.step):
            return
        partial = self.ranks.first(lambda: self.checkpoints.begin(self.state.step))
        self.learner.save_checkpoint(partial / "learner")
        self.learner.save_hf(partial / "model")
        self.ranks.first(lambda: self.checkpoints.commit(partial, vars(self.state)))

    def _watched(self, advance: Callable[[], None]) -> Callable[[Trajectory], None]:
        """Called at the end of every trajectory: move the bar, and notice Ctrl-C between trajectories.

        Of several ranks none may leave alone, while the others wait for it: they agree at the end of the step.
        """

        def on_end(trajectory: Trajectory) -> None:
            advance()
            if self._stop_requested and self.ranks.size == 1:
                raise Interrupted

        return on_end

    def _on_sigint(self, number: int, frame: FrameType | None) -> None:
        if self._stop_requested:  # asked twice: now
            raise KeyboardInterrupt
        self._stop_requested = True

    def _trajectory_file(self, kind: str, tasks: TaskSet) -> TrajectoryFile:
        path = self.folder / "trajectories" / f"{kind}-{self.state.step:06d}.jsonl"
        return TrajectoryFile(path, self.ranks.rank, origin=origin_of(make_env(self.config), tasks))


def evaluate_checkpoint(config: Config, checkpoint: Path) -> list[EvalResult]:
    """Held-out success of a checkpoint's model, on this process alone; nothing is written."""
    model = str(checkpoint / "model")
    tokens = ChatTokens(model)
    engine = make_engine(config, model, tokens.stop_ids)
    pool = EnvPool(lambda: make_env(config), size=config.engine.max_running, workers=config.env.workers or None)
    progress = Progress()
    try:
        rollout = make_rollout(config, engine, pool, tokens)
        results = []
        for split, tasks in eval_tasks(config).items():
            advance = progress.phase(f"eval {split}", config.eval.n)
            results.append(
                evaluate(
                    rollout, tasks, split, n=config.eval.n, seed=EVAL_SEED, temperature=config.eval.temperature,
                    max_infra_frac=config.rollout.max_infra_frac, ranks=Ranks(),
                    on_end=lambda trajectory, advance=advance: advance(),
                )
            )  # fmt: skip
        return results
    finally:
        progress.close()
        pool.close()
        engine.close()


def make_env(config: Config) -> SynToolEnv:
    env = config.env
    return SynToolEnv(
        config.data.dataset,
        config.data.split,
        dialect=env.dialect,
        rubric=env.rubric,
        max_turns=env.max_turns,
        sandbox=env.sandbox,
        gate=env.gate,
        services=read_addresses(env.services),
    )


def make_rollout(config: Config, engine: Engine, pool: EnvPool, tokens: ChatTokens) -> Rollout:
    return Rollout(
        engine,
        pool,
        tokens,
        max_turn_tokens=config.rollout.max_turn_tokens,
        temperature=config.rollout.temperature,
        deterministic=config.rollout.deterministic,
        prefill=DIALECTS[config.env.dialect].prefill,
    )
