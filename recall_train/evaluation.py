"""Held-out success of the model in the engine: the same rollout as in training, without groups."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from recall_env.evaluate import wilson_interval
from recall_env.taskset import TaskSet
from recall_train.ranks import Ranks
from recall_train.rollout import Play, Rollout, check_infra, mix_seed
from recall_train.trajectory import Trajectory


@dataclass(frozen=True)
class EvalResult:
    """Success on one split. Episodes lost to infrastructure are counted apart, in neither n nor successes."""

    split: str
    n: int
    successes: int
    void: int
    calls_mean: float  # tool calls of an episode
    by_family: dict[str, tuple[int, int]]  # family -> (successes, n)

    @property
    def success(self) -> float:
        return self.successes / self.n if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95% Wilson interval of the success rate."""
        return wilson_interval(self.successes, self.n)

    def metrics(self) -> dict[str, float]:
        low, high = self.interval
        at = f"eval/{self.split}"
        values = {f"{at}/success": self.success, f"{at}/low": low, f"{at}/high": high, f"{at}/n": self.n}
        values |= {f"{at}/void": self.void, f"{at}/calls_mean": self.calls_mean}
        return values | {f"{at}/{family}/success": wins / n for family, (wins, n) in self.by_family.items() if n}


@dataclass(frozen=True)
class Outcome:
    """What one episode adds to an EvalResult."""

    valid: bool
    success: bool
    family: str | None
    calls: int


def evaluate(
    rollout: Rollout,
    tasks: TaskSet,
    split: str,
    *,
    n: int,
    seed: int,
    temperature: float,
    max_infra_frac: float,
    ranks: Ranks,
    on_end: Callable[[Trajectory], None] = lambda trajectory: None,
) -> EvalResult:
    """Play n episodes, spread evenly over the tasks (each several times if they are fewer).

    Their seeds depend on `seed` and their number alone.

    Each rank plays its share; every rank returns the result of all. Raises RecallError when more than max_infra_frac
    of them was lost to infrastructure: 0 of 0 would read like a model that fails.
    """
    share, tasks = range(ranks.rank, n, ranks.size), tasks.spread(n)  # files are often sorted
    plays = [Play(tasks[i % len(tasks)], i, 0, mix_seed(seed, i), mix_seed(seed, i, 1)) for i in share]
    trajectories: list[Trajectory] = []
    with closing(rollout.play(plays, temperature)) as ended:  # an error in on_end ends the episodes in flight at once
        for trajectory in ended:
            on_end(trajectory)
            trajectories.append(trajectory)
    check_infra(trajectories, max_infra_frac, ranks)
    mine = [Outcome(t.valid, t.success, t.family, len(t.tool_calls)) for t in trajectories]
    played = [outcome for one in ranks.gather(mine) for outcome in one]
    valid = [t for t in played if t.valid]
    families: dict[str, tuple[int, int]] = {}
    for t in sorted(valid, key=lambda t: t.family or ""):
        wins, count = families.get(t.family or "none", (0, 0))
        families[t.family or "none"] = (wins + t.success, count + 1)
    return EvalResult(
        split=split,
        n=len(valid),
        successes=sum(t.success for t in valid),
        void=len(played) - len(valid),
        calls_mean=sum(t.calls for t in valid) / max(1, len(valid)),
        by_family=families,
    )
