"""Advantages and losses against values worked out by hand."""

from math import exp, log

import numpy as np
import pytest
import torch

from recall_train import grpo
from recall_train.config import Loss

KINDS = sorted(grpo.LOSSES)
NAN = float("nan")


def tokens(ratios, advantages, *, engine_ratios=None, weights=None, sequence=None, ref=None):
    """Tokens with the given pi / pi_old and pi_old / pi_engine; logp is a leaf that takes gradients."""
    n = len(ratios)
    old = torch.full((n,), -1.5, dtype=torch.float64)
    engine = old - torch.log(torch.tensor(engine_ratios or [1.0] * n, dtype=torch.float64))
    logp = (old + torch.log(torch.tensor(ratios, dtype=torch.float64))).requires_grad_()
    return grpo.Tokens(
        logp, old, engine, torch.tensor(advantages, dtype=torch.float64),
        torch.tensor(weights or [1.0] * n, dtype=torch.float64), torch.ones(n, dtype=torch.bool),
        torch.tensor(sequence or [0] * n), None if ref is None else torch.tensor(ref, dtype=torch.float64),
    )  # fmt: skip


def loss_and_gradient(given, **settings):
    value = grpo.total_loss(given, Loss(**settings))
    (gradient,) = torch.autograd.grad(value, given.logp)
    return value.item(), gradient.tolist()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("grpo", [1.5, -0.5, -0.5, -0.5]),  # mean 0.25, std 0.5
        ("dapo", [1.5, -0.5, -0.5, -0.5]),
        ("gspo", [1.5, -0.5, -0.5, -0.5]),
        ("cispo", [1.5, -0.5, -0.5, -0.5]),
        ("dr_grpo", [0.75, -0.25, -0.25, -0.25]),
        ("rloo", [1.0, -1 / 3, -1 / 3, -1 / 3]),
        ("reinforce++", [1.5, -0.5, -0.5, -0.5]),  # one group: the batch's std is the group's
    ],
)
def test_advantages_of_one_success_in_four(kind, expected):
    (result,) = grpo.advantages([np.array([1.0, 0, 0, 0])], kind)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_group_of_equal_rewards_or_of_one_gets_zero_beside_a_group_that_does_not(kind):
    equal, single, varied = grpo.advantages([np.full(3, 0.1), np.array([0.7]), np.array([0.0, 1.0])], kind)
    assert not equal.any() and not single.any()
    assert varied[1] > 0 > varied[0]


def test_reinforce_plus_plus_scales_by_the_batch_and_keeps_the_groups_apart():
    first, second = grpo.advantages([np.array([0.0, 1.0]), np.array([0.0, 3.0])], "reinforce++")
    std = np.std([-0.5, 0.5, -1.5, 1.5], ddof=1)
    np.testing.assert_allclose(np.concatenate([first, second]), np.array([-0.5, 0.5, -1.5, 1.5]) / std, rtol=1e-5)


def test_token_weights_and_denominators_of_every_normalisation():
    lengths = np.array([2, 8])
    for kind, weights, denominator in [
        ("grpo", [1 / 2, 1 / 8], 2), ("gspo", [1 / 2, 1 / 8], 2), ("dr_grpo", [1 / 1024, 1 / 1024], 2),
        ("dapo", [1, 1], 10), ("cispo", [1, 1], 10), ("rloo", [1, 1], 10), ("reinforce++", [1, 1], 10),
    ]:  # fmt: skip
        given = grpo.token_weights(kind, lengths)
        np.testing.assert_allclose(given[0], weights)
        assert given[1] == denominator


@pytest.mark.parametrize("kind", ["grpo", "dr_grpo", "dapo", "rloo", "reinforce++"])
def test_the_surrogate_is_cut_on_the_side_where_the_advantage_pushes(kind):
    given = tokens([1.5, 1.5, 0.5, 0.5, 1.0], [2.0, -2.0, 2.0, -2.0, 3.0])
    value, gradient = loss_and_gradient(given, kind=kind, clip_low=0.2, clip_high=0.28)
    # -(1.28 * 2) - (1.5 * -2) - (0.5 * 2) - (0.8 * -2) - 3
    assert value == pytest.approx(-2.56 + 3.0 - 1.0 + 1.6 - 3.0)
    assert gradient == pytest.approx([0, 3.0, -1.0, 0, -3.0])


def test_cispo_bounds_the_weight_and_no_token_loses_its_gradient():
    given = tokens([1.5, 0.5, 1.0], [2.0, -2.0, 3.0])
    value, gradient = loss_and_gradient(given, kind="cispo", clip_low=0.2, clip_high=0.28)
    expected = [-1.28 * 2, 0.8 * 2, -3.0]
    assert gradient == pytest.approx(expected)
    assert value == pytest.approx(sum(g * x for g, x in zip(expected, given.logp.tolist(), strict=True)))


def test_gspo_uses_one_ratio_for_a_sequence_the_geometric_mean_of_its_tokens():
    ratios = [2.0, 0.5, 1.21, 4.0]  # sequence 0: mean of logs of 2, 0.5, 1.21; sequence 1: 4, cut at 1.28
    given = tokens(ratios, [1.0, 1.0, 1.0, 1.0], weights=[1 / 3] * 3 + [1.0], sequence=[0, 0, 0, 1])
    value, gradient = loss_and_gradient(given, kind="gspo", clip_low=0.2, clip_high=0.28)
    s = exp((log(2) + log(0.5) + log(1.21)) / 3)
    assert value == pytest.approx(-s - 1.28)
    assert gradient == pytest.approx([-s / 3] * 3 + [0])


def test_gspo_gradient_is_that_of_the_sequence_form_of_the_paper():
    given = tokens([1.1, 0.95, 1.02], [0.7] * 3, weights=[1 / 3] * 3)
    _, gradient = loss_and_gradient(given, kind="gspo")
    ratio = torch.exp((given.logp - given.old_logp).mean())
    (expected,) = torch.autograd.grad(-ratio * 0.7, given.logp)
    assert gradient == pytest.approx(expected.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_importance_between_engine_and_learner_is_truncated_and_carries_no_gradient(kind):
    engine_ratios, sequence, weights = [0.5, 1.5, 9.0], [0, 1, 2], [1.0, 2.0, 4.0]
    given = tokens([1.0] * 3, [1.0] * 3, engine_ratios=engine_ratios, sequence=sequence, weights=weights)
    _, gradient = loss_and_gradient(given, kind=kind, is_cap=2.0)
    assert gradient == pytest.approx([-0.5, -1.5 * 2, -2.0 * 4])


def test_kl_to_the_reference_is_k3_and_is_weighted_like_the_loss():
    given = tokens([1.0, 1.0], [0.0, 0.0], weights=[1.0, 3.0], ref=[-1.0, -1.5])
    value, gradient = loss_and_gradient(given, kind="grpo", kl_coef=0.1)
    assert value == pytest.approx(0.1 * (exp(0.5) - 0.5 - 1))
    assert gradient == pytest.approx([0.1 * (1 - exp(0.5)), 0])


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_lies_where_the_mask_is_false_changes_neither_loss_nor_gradient_nor_metric(kind):
    settings = Loss(kind=kind, kl_coef=0.1)
    clean = tokens([1.5, 0.6, 1.0], [1.0, -1.0, 2.0], sequence=[0, 0, 1], ref=[-1.0, -2.0, -1.5])
    logp = torch.cat([clean.logp.detach(), torch.tensor([NAN, float("inf")])]).requires_grad_()

    def dirt(value):
        return torch.cat([value, torch.tensor([NAN, NAN], dtype=value.dtype)])

    dirty = grpo.Tokens(
        logp, dirt(clean.old_logp), dirt(clean.engine_logp), dirt(clean.advantage), dirt(clean.weight),
        torch.tensor([True, True, True, False, False]), torch.tensor([0, 0, 1, 1, 2]), dirt(clean.ref_logp),
    )  # fmt: skip
    values = [grpo.total_loss(t, settings) for t in (clean, dirty)]
    gradients = [torch.autograd.grad(v, t.logp)[0] for v, t in zip(values, (clean, dirty), strict=True)]
    assert values[0].item() == values[1].item()
    assert gradients[1].tolist() == [*gradients[0].tolist(), 0, 0]
    entropy = torch.tensor([1.0, 2, 3], dtype=torch.float64)
    assert grpo.loss_sums(clean, entropy, settings) == grpo.loss_sums(dirty, dirt(entropy), settings)


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_over_parts_adds_up_to_the_loss_over_the_whole(kind):
    rng = np.random.default_rng(1)
    sequence = np.repeat([0, 1, 2, 3], [3, 1, 4, 2])
    n = len(sequence)
    whole = tokens(
        rng.uniform(0.5, 1.6, n).tolist(), rng.normal(size=n).tolist(), sequence=sequence.tolist(),
        engine_ratios=rng.uniform(0.5, 3, n).tolist(), weights=rng.uniform(0.1, 1, n).tolist(),
    )  # fmt: skip
    settings = Loss(kind=kind)
    parts = 0.0
    for members in (sequence < 2, sequence >= 2):
        part = {name: getattr(whole, name)[torch.tensor(members)] for name in vars(whole) if name != "ref_logp"}
        part["sequence"] = part["sequence"] - part["sequence"].min()
        parts += grpo.total_loss(grpo.Tokens(**part), settings).item()
    assert parts == pytest.approx(grpo.total_loss(whole, settings).item(), rel=1e-12)


def test_metrics_are_sums_that_say_what_was_clipped_and_how_far_the_engine_is():
    given = tokens([1.5, 1.5, 0.5, 0.5], [1.0, -1.0, 1.0, -1.0], engine_ratios=[1.0, 1.0, 1.0, 4.0])
    sums = grpo.loss_sums(given, torch.tensor([1.0, 2, 3, 4]), Loss(kind="dapo"))
    assert {name: sums[name].item() for name in ("tokens", "clip_ratio/low", "clip_ratio/high", "entropy")} == {
        "tokens": 4, "clip_ratio/low": 1, "clip_ratio/high": 1, "entropy": 10,
    }  # fmt: skip
    assert sums["is/ratio_mean"].item() == pytest.approx(7.0)
    assert sums["is/masked_frac"].item() == 1
    assert sums["mismatch_kl/mean"].item() == pytest.approx(4 - log(4) - 1)
    assert sums["mismatch_kl/max"].item() == pytest.approx(4 - log(4) - 1)


def test_no_trained_token_gives_a_loss_of_zero_with_a_gradient_of_zero():
    for kind in KINDS:
        given = tokens([1.0], [1.0])
        masked = grpo.Tokens(*[getattr(given, n) if n != "mask" else torch.tensor([False]) for n in vars(given)])
        value, gradient = loss_and_gradient(masked, kind=kind)
        assert (value, gradient) == (0.0, [0.0])
        assert grpo.loss_sums(masked, torch.zeros(1), Loss(kind=kind))["tokens"].item() == 0
