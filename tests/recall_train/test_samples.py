"""Which trajectories become samples, with which advantage; what is counted of a step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recall_train.config import load_config
from recall_train.ranks import Ranks
from recall_train.rollout import RolloutStats
from recall_train.rollout_metrics import rollout_metrics
from recall_train.samples import samples_of
from recall_train.trajectory import Trajectory


def played(reward, status="answer", calls=()):
    trajectory = Trajectory("a", 0, 0, 0, reward=reward, status=status, success=reward == 1)
    trajectory.add_context([1, 2, 3])
    trajectory.add_turn([4, 5], [-0.5, -0.25], 0, "stop")
    trajectory.tool_calls = [{"turn": 0, "status": one} for one in calls]
    return trajectory


def samples(groups, *overrides):
    return samples_of(groups, load_config([], list(overrides)), Ranks())


def test_only_sampled_tokens_carry_the_advantage():
    first, second = samples([[played(1), played(0)]])
    assert first.sampled.tolist() == [False] * 3 + [True] * 2
    assert first.advantage[:3].tolist() == [0, 0, 0] and first.advantage[3] > 0 > second.advantage[3]
    assert first.logprobs.tolist() == [0, 0, 0, -0.5, -0.25] and first.ids.tolist() == [1, 2, 3, 4, 5]


def test_an_infra_failure_has_no_part_in_the_baseline():
    with_void = samples([[played(1), played(0), played(0, "infra"), played(0, "env_error")]])
    assert [s.advantage[3] for s in with_void] == [s.advantage[3] for s in samples([[played(1), played(0)]])]


def test_a_group_of_equal_reward_is_left_out_only_where_a_fresh_one_was_played_for_it():
    groups = [[played(1), played(1)], [played(1), played(0)]]
    assert len(samples(groups, "--rollout.refill", "true")) == 2
    stayed = samples(groups, "--rollout.refill", "false")
    assert [bool(s.advantage.any()) for s in stayed] == [False, False, True, True]


def test_a_trajectory_of_average_reward_counts_in_the_denominator():
    assert len(samples([[played(0), played(0.5), played(1)]])) == 3


@pytest.mark.parametrize("status", ["length", "context"])
def test_an_overlong_trajectory_is_masked_when_asked_and_stays_in_the_baseline(status):
    group = [played(1), played(1), played(0, status)]
    masked, kept = samples([group], "--loss.mask_overlong", "true"), samples([group], "--loss.mask_overlong", "false")
    assert len(masked) == 2 and len(kept) == 3
    assert [s.advantage[3] for s in masked] == [s.advantage[3] for s in kept[:2]]
    assert len(samples([[played(1), played(0, "max_turns")]], "--loss.mask_overlong", "true")) == 1
    assert len(samples([[played(1), played(0, "max_turns")]], "--loss.mask_overlong", "false")) == 2


def test_errors_are_counted_by_whose_fault_they_are():
    group = [
        played(1, calls=["ok", "parse_error", "tool_error"]),
        played(0, calls=["timeout", "unknown_tool"]),
        played(0, "infra", calls=["ok", "sandbox_failure"]),
        played(0, "env_error"),
    ]
    values = rollout_metrics([group], RolloutStats(call_s=[0.1, 0.3]), Ranks())
    names = ("errors/agent", "errors/tool", "errors/infra", "errors/env")
    assert [values[name] for name in names] == [2, 2, 1, 1]
    assert values["tools/error_frac"] == 4 / 5 and values["tools/calls"] == 5 / 2
    assert values["tools/latency_s"] == pytest.approx(0.2)
    assert values["reward/mean"] == 0.5 and np.isfinite(list(values.values())).all()


def test_a_rank_that_played_nothing_has_metrics_too():
    assert np.isfinite(list(rollout_metrics([], RolloutStats(), Ranks()).values())).all()


def test_two_ranks_have_the_advantages_metrics_and_faults_of_one(tmp_path):
    def start(rank, size):
        variables = {"RANK": str(rank), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1"}
        words = [sys.executable, Path(__file__).with_name("samples_rank.py"), tmp_path / "store"]
        return subprocess.Popen(words, env=os.environ | variables, stdout=subprocess.PIPE, text=True)

    alone, first, second = (
        json.loads(process.communicate(timeout=120)[0]) for process in [start(0, 1), start(0, 2), start(1, 2)]
    )
    assert first["advantages"] + second["advantages"] == alone["advantages"] != []
    assert first["metrics"] == second["metrics"] == alone["metrics"]
    assert first["error"] == second["error"] == alone["error"]
    assert "20% of these episodes were lost to infrastructure (limit 10%): the jail is gone" in alone["error"]
