"""One rank of test_samples.py: `python samples_rank.py STORE`, under the launcher's variables. Prints JSON.

Rank 0 has one group and rank 1 another; both lose an episode, which is too much for the step.
"""

import json
import sys

import torch.distributed as dist

from recall_env.errors import RecallError
from recall_train.config import load_config
from recall_train.ranks import Ranks
from recall_train.rollout import RolloutStats, check_infra
from recall_train.rollout_metrics import rollout_metrics
from recall_train.samples import samples_of
from recall_train.trajectory import Trajectory


def played(reward: float, status: str = "answer") -> Trajectory:
    fault = "the jail is gone" if status == "infra" else None
    trajectory = Trajectory("a", 0, 0, 0, reward=reward, status=status, fault=fault)
    trajectory.add_context([1])
    trajectory.add_turn([2], [-0.5], 0, "stop")
    return trajectory


GROUPS = [[played(0), played(1)], [played(0), played(0.2), played(0, "infra")]]

if __name__ == "__main__":
    ranks = Ranks()
    if ranks.size > 1:
        dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=ranks.rank, world_size=ranks.size)
    groups = [[GROUPS[ranks.rank]], GROUPS][ranks.size == 1]
    samples = samples_of(groups, load_config([], ["--loss.kind", "reinforce++"]), ranks)
    try:
        check_infra([t for group in groups for t in group], 0.1, ranks)
        error = None
    except RecallError as e:
        error = str(e)
    metrics = rollout_metrics(groups, RolloutStats(), ranks)
    print(json.dumps({"advantages": [float(s.advantage[1]) for s in samples], "error": error, "metrics": metrics}))
    if ranks.size > 1:
        dist.destroy_process_group()
