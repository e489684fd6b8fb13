"""Held-out success: what counts, and what is no result at all."""

import gymnasium as gym
import pytest

from recall_env.errors import RecallError, SandboxFailure
from recall_env.taskset import TaskSet
from recall_env.vector import EnvPool
from recall_train.engine.scripted import ScriptedEngine
from recall_train.evaluation import evaluate
from recall_train.ranks import Ranks
from recall_train.rollout import Rollout

RIGHT, WRONG = "The answer is \\boxed{12}", "The answer is \\boxed{13}"


def evaluation(tokens, task, make_env, *, limit, n=4):
    """Answers without a call; every second one is right."""

    def reply(request):
        text = RIGHT if int(request.session.split(".")[0]) % 2 else WRONG
        return [*tokens.tokenizer.encode(text, add_special_tokens=False), tokens.tokenizer.eos_token_id]

    engine = ScriptedEngine(reply, max_context=900, stop_ids=tokens.stop_ids)
    with EnvPool(make_env, size=2, workers=1) as pool:
        rollout = Rollout(engine, pool, tokens, max_turn_tokens=100, temperature=1.0, deterministic=True)
        return evaluate(
            rollout, TaskSet([task]), "test", n=n, seed=1, temperature=1.0, max_infra_frac=limit, ranks=Ranks()
        )


def test_success_is_a_rate_of_the_episodes_that_count(tokens, price_task, make_env):
    result = evaluation(tokens, price_task, make_env, limit=0)
    assert (result.n, result.successes, result.void, result.success) == (4, 2, 0, 0.5)
    assert result.interval == pytest.approx((0.1500, 0.8500), abs=1e-4)
    assert result.by_family == {"none": (2, 4)}


def test_an_evaluation_that_infrastructure_lost_is_an_error_and_no_zero(tokens, price_task):
    class Broken(gym.Env):
        def reset(self, *, seed=None, options=None):
            raise SandboxFailure("the jail is gone")

    with pytest.raises(RecallError, match=r"100% of these episodes .*the jail is gone"):
        evaluation(tokens, price_task, Broken, limit=0.05)
    assert evaluation(tokens, price_task, Broken, limit=1).void == 4
