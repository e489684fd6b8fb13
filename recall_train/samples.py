"""Trajectories of one step to the samples that the learner learns from: whose advantage, and who is left out."""

import numpy as np

from recall_train import grpo
from recall_train.batch import Sample
from recall_train.config import Config
from recall_train.ranks import Ranks
from recall_train.rollout import has_variance
from recall_train.trajectory import Trajectory


def samples_of(groups: list[list[Trajectory]], config: Config, ranks: Ranks) -> list[Sample]:
    """Collective: reinforce++ divides by the standard deviation over the groups of all ranks. This rank's samples.

    A group's baseline is over its valid trajectories. Left out: void ones; under rollout.refill, groups of equal
    reward, in whose place fresh ones were played; under mask_overlong, trajectories that a budget of tokens, turns,
    time or text cut short; they still count in their group's baseline. One that ran out of tokens has reward 0 whatever
    the rubric, for its last turn is no turn; one that ran out of anything else has what the rubric gives.
    Without refill a group of equal reward stays: it counts in the denominator, and kl_coef holds its tokens too.
    """
    valid = [[t for t in group if t.valid] for group in groups]
    every = ranks.gather([np.array([t.reward for t in group], dtype=np.float64) for group in valid])
    advantages = iter(grpo.advantages([rewards for one in every for rewards in one], config.loss.kind))
    mine = [[next(advantages) for _ in one] for one in every][ranks.rank]
    samples = []
    for group, values in zip(valid, mine, strict=True):
        if config.rollout.refill and not has_variance(group):
            continue
        for trajectory, advantage in zip(group, values, strict=True):
            overlong = trajectory.status in ("length", "context", "max_turns", "budget")
            if trajectory.turns and not (overlong and config.loss.mask_overlong):
                samples.append(_sample(trajectory, advantage))
    return samples


def _sample(trajectory: Trajectory, advantage: float) -> Sample:
    sampled = np.array(trajectory.sampled)
    return Sample(
        ids=np.array(trajectory.ids, dtype=np.int64),
        sampled=sampled,
        logprobs=np.array(trajectory.logprobs, dtype=np.float32),
        advantage=np.where(sampled, advantage, 0).astype(np.float32),
    )
