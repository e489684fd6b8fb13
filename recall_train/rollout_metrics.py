"""Metrics of what was played in one step, over all ranks.

Not here: of what was learned (sums.py), the file they go to (metrics.py).
"""

from collections import Counter

import numpy as np

from recall_env.tool_call import AGENT_STATUSES
from recall_train.metrics import Values
from recall_train.ranks import Ranks
from recall_train.rollout import RolloutStats, has_variance
from recall_train.trajectory import Trajectory


def rollout_metrics(groups: list[list[Trajectory]], stats: RolloutStats, ranks: Ranks) -> Values:
    """Collective. By their metrics.jsonl names; means are over valid trajectories.

    errors/agent and errors/tool count calls, by whose fault they failed; errors/env and errors/infra count episodes
    that are void. tools/calls is per episode, tools/latency_s per call, in its jail.
    """
    valid = [t for group in groups for t in group if t.valid]
    mine = {
        "zero": [not has_variance(group) for group in groups],
        "status": Counter(t.status for group in groups for t in group),
        "rewards": [t.reward for t in valid],
        "success": [t.success for t in valid],
        "turns": [len(t.turns) for t in valid],
        "tokens": [len(t.ids) for t in valid],
        "calls": Counter(call["status"] for t in valid for call in t.tool_calls),
        "call_s": stats.call_s,
        "tokens_per_s": stats.sampled_tokens / max(stats.seconds, 1e-9),
        "inflight": stats.max_inflight,
        "env_wait_s": stats.env_wait_s,
    }
    every = ranks.gather(mine)

    def mean(name: str) -> float:
        values = [value for one in every for value in one[name]]
        return float(np.mean(values)) if values else 0.0

    rewards = [reward for one in every for reward in one["rewards"]]
    status: Counter[str] = sum((one["status"] for one in every), Counter())
    calls: Counter[str] = sum((one["calls"] for one in every), Counter())
    cut = status["length"] + status["context"] + status["max_turns"]
    failed = calls.total() - calls["ok"]
    by_agent = sum(calls[name] for name in AGENT_STATUSES)
    return {
        "reward/mean": mean("rewards"),
        "reward/std": float(np.std(rewards)) if rewards else 0.0,
        "frac_reward_zero_std": mean("zero"),
        "rollout/success": mean("success"),
        "rollout/groups": sum(len(one["zero"]) for one in every),
        "rollout/turns_mean": mean("turns"),
        "rollout/context_tokens_mean": mean("tokens"),
        "rollout/tokens_per_s": sum(one["tokens_per_s"] for one in every),
        "rollout/inflight": max(one["inflight"] for one in every),
        "rollout/env_wait_s": max(one["env_wait_s"] for one in every),
        "rollout/truncated_frac": cut / max(1, status.total()),
        "tools/calls": calls.total() / max(1, len(rewards)),
        "tools/latency_s": mean("call_s"),
        "tools/error_frac": failed / max(1, calls.total()),
        "errors/agent": by_agent,
        "errors/tool": failed - by_agent,
        "errors/env": status["env_error"],
        "errors/infra": status["infra"],
    }
