"""Engine and learner agree on real trajectories: recall-tiny's weights, SynTool tasks, tools in the jail.

What is measured is what training reports, mismatch_kl of Learner.step: the k3 estimate of KL(engine || learner) over
the tokens that the engine sampled. Each engine in turn; the learner is built first, as in the trainer.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from recall_env.vector import EnvPool
from recall_train import weights
from recall_train.batch import Sample
from recall_train.config import Config, load_config
from recall_train.engine import make_engine
from recall_train.learner import Learner
from recall_train.models import model_folder
from recall_train.rollout import Play, mix_seed
from recall_train.tasks import eval_tasks
from recall_train.tokens import ChatTokens
from recall_train.trainer import make_env, make_rollout
from recall_train.trajectory import Trajectory

EPISODES = 8
MOST_MEAN, MOST = 1e-3, 1e-2  # nats, of a token


def settings(kind: str) -> Config:
    fixed = ["--engine.max_running", str(EPISODES), "--engine.gpu_memory_utilization", "0.3", "--env.workers", "2"]
    return load_config([], ["--engine.kind", kind, "--engine.enforce_eager", "true", *fixed])


def make_learner(config: Config) -> Learner:
    return Learner(
        model_folder(config.model.path),
        config.model,
        config.learner,
        config.loss,
        seed=0,
        temperature=1.0,
    )


def play(config: Config, learner: Learner) -> list[Trajectory]:
    """One episode of each of a few tasks, sampled under the learner's weights."""
    path = model_folder(config.model.path)
    tokens = ChatTokens(path)
    engine = make_engine(config, path, tokens.stop_ids)
    try:
        weights.sync(learner, engine, 1)
        tasks = eval_tasks(config)["test"].spread(EPISODES)
        plays = [Play(task, i, 0, mix_seed(3, i), mix_seed(4, i)) for i, task in enumerate(tasks)]
        with EnvPool(lambda: make_env(config), size=EPISODES, workers=2) as pool:
            return list(make_rollout(config, engine, pool, tokens).play(plays))
    finally:
        engine.close()


@pytest.fixture(scope="module", params=["torch", pytest.param("vllm", marks=pytest.mark.vllm)])
def config(request) -> Config:
    return settings(request.param)


@pytest.fixture(scope="module")
def learner(config) -> Iterator[Learner]:
    learner = make_learner(config)
    yield learner
    learner.close()


@pytest.fixture(scope="module")
def trajectories(config, learner) -> list[Trajectory]:
    return play(config, learner)


@pytest.fixture
def samples(trajectories) -> list[Sample]:
    """Every sampled token is trained on, half of them up and half of them down."""
    return [
        Sample(
            ids=np.array(t.ids),
            sampled=np.array(t.sampled),
            logprobs=np.array(t.logprobs, dtype=np.float32),
            advantage=np.where(t.sampled, (-1.0) ** number, 0).astype(np.float32),
        )
        for number, t in enumerate(trajectories)
    ]


def test_the_trajectories_are_real_ones(trajectories):
    assert len(trajectories) == EPISODES and all(t.valid for t in trajectories)
    assert {turn.version for t in trajectories for turn in t.turns} == {1}
    assert max(len(t.turns) for t in trajectories) >= 3
    assert any(call["status"] == "ok" for t in trajectories for call in t.tool_calls), "no call reached its tool"


def test_engine_and_learner_agree_on_what_was_sampled(learner, samples):
    values = learner.step(samples)
    assert values["batch/trained_tokens"] == sum(sample.sampled.sum() for sample in samples) > 200
    assert 0 <= values["mismatch_kl/mean"] < MOST_MEAN
    assert values["mismatch_kl/max"] < MOST
    assert abs(values["is/ratio_mean"] - 1) < 1e-2


def test_a_learner_with_other_weights_is_found_out(learner, samples):
    """The last in this file: it spoils the learner's weights, by a tenth of each matrix's own size."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in learner.lm.parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter += 0.1 * parameter.std() * noise if parameter.dim() == 2 else 0
    assert learner.step(samples)["mismatch_kl/mean"] > MOST_MEAN
