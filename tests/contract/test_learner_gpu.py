"""The learner on CUDA: the same gradients as on the CPU, bfloat16 over fp32 masters, PyTorch's varlen attention."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_model import PlainPyTorch, captured_gradients, make_model, make_samples, weights_of

from recall_train import config
from recall_train.learner import Learner

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def start(model):
    started = []

    def make(dtype="bfloat16", attention="auto", **settings) -> Learner:
        settings = config.Learner(**{"lr": 1e-3, "tokens_per_microbatch": 64, "logprob_chunk": 16} | settings)
        given = config.Model(dtype=dtype, attention=attention), settings, config.Loss()
        started.append(Learner(model, *given, seed=0, temperature=0.7))
        return started[-1]

    yield make
    for learner in started:
        learner.close()


def gradients_of_first_step(learner):
    with captured_gradients(learner) as seen:
        learner.step(make_samples())
    return {name: gradient.cpu() for name, gradient in seen[0].items()}


def cosine(first: dict, second: dict) -> float:
    a, b = (torch.cat([d[name].flatten() for name in sorted(first)]) for d in (first, second))
    return torch.cosine_similarity(a, b, dim=0).item()


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_fp32_on_cuda_has_the_gradient_of_a_plain_pytorch_reference(model, start, stage):
    expected = PlainPyTorch(model).gradients("dapo", make_samples())
    for name, gradient in gradients_of_first_step(start("float32", zero_stage=stage)).items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize("attention", ["varlen", "sdpa"])
@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_bfloat16_points_the_same_way(model, start, stage, attention, gradient_checkpointing):
    expected = PlainPyTorch(model).gradients("dapo", make_samples())
    learner = start(attention=attention, zero_stage=stage, gradient_checkpointing=gradient_checkpointing)
    assert cosine(gradients_of_first_step(learner), expected) > 0.999
    assert {tensor.dtype for tensor in weights_of(learner).values()} == {torch.bfloat16}


@pytest.mark.parametrize("stage", [2, 3])
def test_updates_too_small_for_bfloat16_add_up_in_the_fp32_masters(start, stage):
    learner = start(zero_stage=stage, lr=2e-5)
    before = weights_of(learner)["model.layers.0.mlp.up_proj.weight"]

    def moved() -> int:
        return int((weights_of(learner)["model.layers.0.mlp.up_proj.weight"] != before).sum())

    learner.step(make_samples())
    after_one = moved()
    for _ in range(30):
        learner.step(make_samples())
    assert moved() > 3 * after_one


@pytest.mark.parametrize("stage", [2, 3])
def test_a_step_that_is_not_finite_is_refused_and_a_checkpoint_restores_the_rest(start, tmp_path, stage):
    learner = start(zero_stage=stage)
    learner.step(make_samples())
    learner.save_checkpoint(tmp_path)
    before = weights_of(learner)
    bad = [replace(s, advantage=np.full_like(s.advantage, np.nan)) for s in make_samples()]
    assert learner.step(bad)["optim/refused"] == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights_of(learner).items())
    learner.step(make_samples(seed=1))
    resumed = start(zero_stage=stage)
    resumed.load_checkpoint(tmp_path)
    resumed.step(make_samples(seed=1))
    expected = weights_of(learner)
    for name, tensor in weights_of(resumed).items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=2e-3)
