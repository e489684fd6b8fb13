"""The learner keeps the contract of its gradient, whatever the micro-batches, ranks and ZeRO stage. Real DeepSpeed."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import (
    LR,
    TEMPERATURE,
    VOCAB,
    PlainPyTorch,
    captured_gradients,
    make_learner,
    make_model,
    make_samples,
    weights_of,
)
from transformers import AutoModelForCausalLM

from recall_env.errors import RecallError
from recall_train import config, grpo, weights
from recall_train.batch import Sample
from recall_train.engine.base import Request
from recall_train.engine.torch import TorchEngine
from recall_train.learner import Learner

STAGES = (0, 2, 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def start(model):
    """make_learner, closed at the end of the test."""
    started = []

    def make(**settings) -> Learner:
        started.append(make_learner(model, **settings))
        return started[-1]

    yield make
    for learner in started:
        learner.close()


def gradients_of_first_step(learner, samples):
    with captured_gradients(learner) as seen:
        learner.step(samples)
    return seen[0]


def assert_close(first, second, atol):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("kind", sorted(grpo.LOSSES))
def test_every_loss_has_the_gradient_of_a_plain_pytorch_reference(model, start, kind):
    samples = make_samples()
    expected = PlainPyTorch(model).gradients(kind, samples)
    assert max(g.abs().max() for g in expected.values()) > 1e-3
    assert_close(gradients_of_first_step(start(loss=kind), samples), expected, 1e-5)


@pytest.mark.parametrize("stage", STAGES)
def test_one_micro_batch_of_eight_is_several_of_some_is_eight_of_one(model, start, stage):
    samples = make_samples()
    expected = PlainPyTorch(model).gradients("grpo", samples)
    counts = []
    for budget in (10_000, 64, 1):
        learner = start(loss="grpo", zero_stage=stage, tokens_per_microbatch=budget)
        with captured_gradients(learner) as seen:
            counts.append(learner.step(samples)["batch/microbatches"])
        assert_close(seen[0], expected, 1e-5)
    assert counts[0] == 1 < counts[1] < counts[2] == 8


@pytest.mark.parametrize("settings", [{"logprob_chunk": 3}, {"gradient_checkpointing": True}])
def test_saving_memory_changes_no_gradient(start, settings):
    samples = make_samples()
    plain, saving = (gradients_of_first_step(start(**s), samples) for s in ({}, settings))
    assert_close(plain, saving, 1e-6)


def test_zero_stages_agree_after_two_steps(start):
    samples = make_samples()
    learners = [start(zero_stage=stage) for stage in STAGES]
    metrics = [[learner.step(samples) for _ in range(2)] for learner in learners]
    for other, learner in zip(metrics[1:], learners[1:], strict=True):
        assert_close(weights_of(learners[0]), weights_of(learner), LR / 100)
        for mine, theirs in zip(metrics[0], other, strict=True):
            assert theirs == pytest.approx(mine, rel=1e-4, abs=1e-6)


def test_two_updates_a_step_train_on_each_sample_once_against_the_ratio_of_the_start(model, start):
    samples = make_samples(12)
    learner = start(updates_per_step=2, seed=5)
    with captured_gradients(learner) as seen:
        metrics = learner.step(samples)
    assert metrics["optim/updates"] == len(seen) == 2
    reference = PlainPyTorch(model)
    order = np.random.default_rng([5, 0]).permutation(12)
    assert_close(seen[0], reference.gradients("dapo", [samples[i] for i in order[::2]]), 1e-5)
    with pytest.raises(AssertionError):  # moved weights, so ratios left 1: not the gradient of a first update
        assert_close(seen[1], reference.gradients("dapo", [samples[i] for i in order[1::2]]), 1e-5)
    assert metrics["batch/trained_tokens"] == sum(s.sampled.sum() for s in samples)


def test_log_probabilities_are_those_of_a_plain_model_at_the_rollouts_temperature(model, start):
    samples, reference = make_samples(), PlainPyTorch(model)
    for sample, logp in zip(samples, start().logprobs(samples), strict=True):
        np.testing.assert_allclose(logp, reference.logprobs(sample).detach().numpy(), atol=1e-5)


def test_the_learner_agrees_with_the_engine_that_holds_its_weights(model, start):
    learner = start()
    learner.step(make_samples())
    engine = TorchEngine(
        model, max_running=2, max_context=64, dtype="float32", device="cpu", stop_ids=frozenset({VOCAB - 1})
    )
    weights.sync(learner, engine, 7)
    prompt = (3, 1, 4, 1, 5)
    engine.submit(Request("r", prompt, 20, seed=1, temperature=TEMPERATURE))
    turns = []
    while engine.inflight:
        turns += engine.step()
    engine.close()
    (turn,) = turns
    assert engine.version == turn.version == 7
    ids, sampled = np.array([*prompt, *turn.ids]), np.array([False] * len(prompt) + [True] * len(turn.ids))
    zeros = np.zeros(len(ids), np.float32)
    (logp,) = learner.logprobs([Sample(ids, sampled, zeros, zeros)])
    np.testing.assert_allclose(logp, turn.logprobs, atol=1e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_a_learner_that_stops_and_resumes_reaches_the_same_weights_bit_for_bit(start, tmp_path, stage):
    steps = [make_samples(seed=seed) for seed in range(3)]
    straight, stopped = (start(zero_stage=stage, warmup_updates=5) for _ in range(2))
    for samples in steps:
        straight.step(samples)
    for samples in steps[:2]:
        stopped.step(samples)
    stopped.save_checkpoint(tmp_path)
    resumed = start(zero_stage=stage, warmup_updates=5)
    resumed.load_checkpoint(tmp_path)
    assert resumed.step(steps[2])["optim/lr"] == LR / 2
    expected = weights_of(straight)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights_of(resumed).items())


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("field", ["advantage", "logprobs"])
def test_a_step_that_is_not_finite_is_refused_and_leaves_no_trace(start, stage, field):
    good, other = make_samples(), make_samples(seed=1)
    bad = replace(good[0], **{field: np.full_like(getattr(good[0], field), np.nan)})
    clean, dirty = (start(zero_stage=stage) for _ in range(2))
    for learner in (clean, dirty):
        learner.step(good)
    before = weights_of(dirty)
    metrics = dirty.step([bad, *good[1:]])
    assert (metrics["optim/refused"], metrics["optim/updates"]) == (1, 0)
    assert all(np.isfinite(list(metrics.values()))) and "loss" not in metrics
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights_of(dirty).items())
    for learner in (clean, dirty):
        learner.step(other)
    expected = weights_of(clean)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights_of(dirty).items())


def test_a_step_with_nothing_to_train_on_makes_no_update(start):
    learner = start()
    learner.step(make_samples())
    before = weights_of(learner)
    unsampled = replace(make_samples()[0], sampled=np.zeros_like(make_samples()[0].sampled))
    for samples in ([], [unsampled]):
        assert learner.step(samples) == {
            "batch/tokens": 0, "batch/trained_tokens": 0, "batch/pad_frac": 0, "batch/microbatches": 0,
            "optim/updates": 0, "optim/refused": 0,
        }  # fmt: skip
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights_of(learner).items())


def test_the_kl_to_the_starting_weights_is_zero_at_the_start_and_grows(start):
    learner = start(kl_coef=0.1, lr=1e-2)
    first, second = learner.step(make_samples()), learner.step(make_samples())
    assert first["kl"] == pytest.approx(0, abs=1e-9)
    assert second["kl"] > 1e-4


def test_the_cost_of_a_step_is_its_memory_and_no_utilisation_of_a_device_of_unknown_peak(start):
    learner, samples = start(), make_samples()
    learner.step(samples)
    assert set(cost := learner.cost(samples, 1.0)) == {"perf/peak_gib"} and 0.1 < cost["perf/peak_gib"] < 100
    learner._peak_flops = 1e12
    assert 0 < learner.cost(samples, 2.0)["perf/mfu"] == pytest.approx(learner.cost(samples, 1.0)["perf/mfu"] / 2)


def test_metrics_name_what_was_trained_on(start):
    samples = make_samples()
    metrics = start().step(samples)
    assert metrics["batch/tokens"] == sum(len(s.ids) for s in samples)
    assert metrics["batch/trained_tokens"] == sum(s.sampled.sum() for s in samples)
    assert metrics["batch/pad_frac"] == 0
    assert set(metrics) >= {
        "loss", "entropy", "optim/grad_norm", "optim/lr", "clip_ratio/low", "clip_ratio/high", "is/ratio_mean",
        "is/masked_frac", "mismatch_kl/mean", "mismatch_kl/max",
    }  # fmt: skip
    assert 0 < metrics["entropy"] <= np.log(VOCAB)
    assert 0 < metrics["is/masked_frac"] < 1 and metrics["mismatch_kl/max"] >= metrics["mismatch_kl/mean"] > 0


@pytest.mark.parametrize("stage", STAGES)
def test_saved_weights_load_as_a_hugging_face_folder_with_the_tokenizers_own_bytes(model, start, tmp_path, stage):
    learner = start(zero_stage=stage)
    learner.step(make_samples())
    learner.save_hf(tmp_path / "hf")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    ours = weights_of(learner)
    assert all(torch.equal(p, ours[name]) for name, p in loaded.named_parameters())
    assert (tmp_path / "hf/tokenizer.json").read_bytes() == Path(model, "tokenizer.json").read_bytes()


def test_a_checkpoint_of_another_zero_stage_or_none_is_refused_in_one_line(start, tmp_path):
    start(zero_stage=2).save_checkpoint(tmp_path / "two")
    learner = start(zero_stage=0)
    with pytest.raises(RecallError, match="written with zero_stage = 2, this run has 0"):
        learner.load_checkpoint(tmp_path / "two")
    with pytest.raises(RecallError, match="not a learner's checkpoint"):
        learner.load_checkpoint(tmp_path)


def test_folders_and_settings_that_cannot_work_are_refused_in_one_line(model, tmp_path):
    def refusal(path=model, attention="auto", **learner):
        with pytest.raises(RecallError) as e:
            Learner(
                path, config.Model(attention=attention), config.Learner(**learner), config.Loss(),
                seed=0, temperature=1.0,
            )  # fmt: skip
        assert "\n" not in str(e.value)
        return str(e.value)

    assert "does not exist" in refusal(path=str(tmp_path / "missing"))
    assert "has no config.json" in refusal(path=str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert "cannot load" in refusal(path=str(tmp_path))
    assert "'flash' needs" in refusal(attention="flash")


def test_two_ranks_have_the_gradient_of_one_at_every_zero_stage(model, start, tmp_path):
    single = start()
    with captured_gradients(single) as seen:
        expected_metrics = [single.step(make_samples()) for _ in range(2)]
    expected_logprobs = single.logprobs(make_samples())
    for stage, (first, second) in run_two_ranks(model, tmp_path).items():
        assert_close(first["gradients"], seen[0], 1e-6)
        logprobs = [*first["logprobs"], *second["logprobs"]]
        for mine, theirs in zip(expected_logprobs, logprobs, strict=True):
            np.testing.assert_allclose(theirs, mine, atol=1e-4, err_msg=f"stage {stage}")
        for mine, theirs in zip(expected_metrics, first["metrics"], strict=True):
            assert theirs["batch/pad_frac"] > 0 and theirs["batch/microbatches"] > mine["batch/microbatches"]
            same = mine.keys() - {"batch/pad_frac", "batch/microbatches"}
            assert {k: theirs[k] for k in same} == pytest.approx({k: mine[k] for k in same}, rel=1e-3, abs=1e-6)
        for rank in (first, second):
            assert rank["refused"] == 1 and rank["untouched"] and rank["resumed"], f"stage {stage}"


def run_two_ranks(model: str, out: Path) -> dict[int, tuple[dict, dict]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    ranks = [
        subprocess.Popen(
            [sys.executable, Path(__file__).with_name("learner_rank.py"), model, out],
            env=os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1",
                              "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = [rank.communicate(timeout=280)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(outputs)
    first, second = (torch.load(out / f"{rank}.pt", weights_only=False) for rank in range(2))
    return {stage: (first[stage], second[stage]) for stage in STAGES}
