"""Advantages and losses: pure functions of arrays and tensors.

A loss is a SUM over trained tokens, each with a weight that was decided before the batch was cut into micro-batches
(`token_weights`); the learner divides it once, by a denominator counted over every rank. So micro-batching, packing
and ranks cannot change a gradient. Not here: forward passes, packing, optimisers.

Sources are given at each function; letters follow GRPO (arXiv:2402.03300): r reward, A advantage, rho = pi / pi_old.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from recall_train.config import Loss

__all__ = [
    "ADVANTAGES",
    "DR_GRPO_TOKENS",
    "LOSSES",
    "NORMALISATION",
    "STD_EPS",
    "Tokens",
    "advantages",
    "clipped_weight",
    "is_weight",
    "k3",
    "loss_sums",
    "sequence_clipped",
    "sequence_ratio",
    "token_clipped",
    "token_ratio",
    "token_weights",
    "total_loss",
]

STD_EPS = 1e-6  # added to a standard deviation before dividing by it
DR_GRPO_TOKENS = 1024.0  # Dr. GRPO's constant length; the paper leaves it free: it only rescales the loss

# --- advantages -----------------------------------------------------------------------------------------------------


def advantages(groups: Sequence[np.ndarray], kind: str) -> list[np.ndarray]:
    """The advantage of every trajectory, group by group: one (G,) float64 array for each given.

    groups: (G,) rewards of each group's valid trajectories; infra failures are left out, and so out of the baseline.
    A group without reward variance, or with one trajectory, gets 0. kind is a name in LOSSES: grpo, dapo, gspo and
    cispo divide by the group's standard deviation (n - 1 in its denominator); dr_grpo does not; rloo leaves each
    trajectory out of its own baseline; reinforce++ divides by the standard deviation over all groups given.
    """
    within = ADVANTAGES[kind]
    out = []
    for rewards in groups:
        r = np.asarray(rewards, dtype=np.float64)
        out.append(within(r) if len(r) > 1 and r.max() > r.min() else np.zeros(len(r)))
    if kind == "reinforce++" and any(a.any() for a in out):
        out = [a / (np.concatenate(out).std(ddof=1) + STD_EPS) for a in out]  # their mean is 0: each group is centred
    return out


def _standardised(r: np.ndarray) -> np.ndarray:
    """(r - mean) / std of the group. GRPO, §4.1.2; kept by DAPO (arXiv:2503.14476) eq. 9, GSPO and CISPO."""
    return (r - r.mean()) / (r.std(ddof=1) + STD_EPS)


def _centred(r: np.ndarray) -> np.ndarray:
    """r - mean. Dr. GRPO (arXiv:2503.20783) §3: the division by std weighs too easy and too hard tasks up."""
    return r - r.mean()


def _leave_one_out(r: np.ndarray) -> np.ndarray:
    """r_i - mean of the others. RLOO (arXiv:2402.14740) §2."""
    return (r - r.mean()) * (len(r) / (len(r) - 1))


# Loss -> the advantages within one group: (G,) rewards -> (G,). The source of each stands at its function.
ADVANTAGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "grpo": _standardised,
    "dr_grpo": _centred,
    "dapo": _standardised,
    "gspo": _standardised,
    "cispo": _standardised,
    "rloo": _leave_one_out,
    "reinforce++": _centred,  # then over the batch: REINFORCE++ with baseline (arXiv:2501.03262)
}

# --- weights of tokens ----------------------------------------------------------------------------------------------

Normalisation = Literal["sequence", "constant", "token"]
# Loss -> what its sum is divided by: sequences, sequences of a constant length, or tokens.
NORMALISATION: dict[str, Normalisation] = {
    "grpo": "sequence",  # arXiv:2402.03300 eq. 3: mean over sequences of the mean over each one's tokens
    "gspo": "sequence",  # arXiv:2507.18071 eq. 5
    "dr_grpo": "constant",  # arXiv:2503.20783: mean over sequences of the sum over tokens by a constant length
    "dapo": "token",  # arXiv:2503.14476 eq. 8: mean over the tokens of the batch
    "cispo": "token",  # arXiv:2506.13585 eq. 4
    "rloo": "token",  # the papers sum over tokens; the mean length is a factor of the learning rate alone
    "reinforce++": "token",
}


def token_weights(kind: str, lengths: np.ndarray) -> tuple[np.ndarray, float]:
    """The weight of every trained token of each sequence, (B,), and this batch's part of the denominator.

    lengths: (B,) trained tokens of each sequence, all above 0. Denominators of parts of a batch add up to the whole's.
    """
    lengths = np.asarray(lengths, dtype=np.float64)
    how = NORMALISATION[kind]
    if how == "sequence":
        return 1.0 / lengths, float(len(lengths))
    if how == "constant":
        return np.full(len(lengths), 1.0 / DR_GRPO_TOKENS), float(len(lengths))
    return np.ones(len(lengths)), float(lengths.sum())


# --- losses ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tokens:
    """Tokens of one micro-batch, packed; every field is (T,). Where mask is False the others may hold anything, NaN
    included: they are selected away, not multiplied away. A sequence lies whole in one micro-batch."""

    logp: Tensor  # under the weights being trained; the only field that carries gradient
    old_logp: Tensor  # under the weights at the step's start: equal to logp, detached, in the step's first update
    engine_logp: Tensor  # under the engine, when it was sampled
    advantage: Tensor
    weight: Tensor  # token_weights
    mask: Tensor  # bool: trained on
    sequence: Tensor  # int64: which sequence of the micro-batch, from 0
    ref_logp: Tensor | None = None  # under the starting weights, when kl_coef > 0

    def selected(self) -> "Tokens":
        """The trained tokens alone: mask is True everywhere. Multiplying by it would not do: 0 x NaN is NaN."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Tokens(**{name: None if value is None else value[self.mask] for name, value in values.items()})


def is_weight(tokens: Tokens, cap: float) -> Tensor:
    """min(pi_old / pi_engine, cap) per token, (T,), detached: truncated importance sampling.

    It corrects for the engine's kernels and precision, which make it another policy than the learner's.
    Source: Ionides, "Truncated importance sampling" (2008), as used per token by Yao et al. (2025).
    """
    return torch.exp(tokens.old_logp - tokens.engine_logp).clamp(max=cap).detach()


def token_ratio(tokens: Tokens) -> Tensor:
    """rho_t = pi(y_t) / pi_old(y_t), (T,), with gradient. PPO (arXiv:1707.06347) §3."""
    return torch.exp(tokens.logp - tokens.old_logp)


def sequence_ratio(tokens: Tokens) -> Tensor:
    """The geometric mean of a sequence's rho_t at each of its tokens, (T,), with the gradient of the token's own logp.

    Source: GSPO (arXiv:2507.18071) eq. 7 and its token form, eq. 14: the gradients of both are equal when a sequence
    has one advantage, and this form needs no sum over tokens in backward.
    """
    log_ratio = (tokens.logp - tokens.old_logp).detach()
    n = int(tokens.sequence.max()) + 1 if len(tokens.sequence) else 0
    total = log_ratio.new_zeros(n).index_add(0, tokens.sequence, log_ratio)
    count = log_ratio.new_zeros(n).index_add(0, tokens.sequence, torch.ones_like(log_ratio))
    mean = (total / count.clamp(min=1))[tokens.sequence]
    return torch.exp(mean + tokens.logp - tokens.logp.detach())


def _clipped_surrogate(ratio: Tensor, tokens: Tokens, loss: Loss) -> Tensor:
    """-min(rho A, clip(rho, 1 - low, 1 + high) A): PPO (arXiv:1707.06347) eq. 7, two ranges: DAPO §3.1."""
    clipped = ratio.clamp(1 - loss.clip_low, 1 + loss.clip_high)
    return -torch.minimum(ratio * tokens.advantage, clipped * tokens.advantage)


def token_clipped(tokens: Tokens, loss: Loss) -> Tensor:
    """grpo, dr_grpo, dapo, rloo, reinforce++: PPO's clipped surrogate on token ratios, as a scalar sum.

    They differ by advantage and token weight (ADVANTAGES, NORMALISATION); with one update a step rho is 1 and it is
    REINFORCE for all of them. Source: PPO (arXiv:1707.06347) eq. 7, with two clip ranges as in DAPO
    (arXiv:2503.14476) §3.1.
    """
    return _weighted_sum(_clipped_surrogate(token_ratio(tokens), tokens, loss), tokens, loss)


def sequence_clipped(tokens: Tokens, loss: Loss) -> Tensor:
    """gspo: the surrogate on sequence ratios, as a scalar sum. Its clip ranges are two or three orders smaller.

    Source: GSPO (arXiv:2507.18071) eq. 5; 3e-4 and 4e-4 are the ranges of its §5.1.
    """
    return _weighted_sum(_clipped_surrogate(sequence_ratio(tokens), tokens, loss), tokens, loss)


def clipped_weight(tokens: Tokens, loss: Loss) -> Tensor:
    """cispo: the clipped ratio is a constant weight on REINFORCE, so no token loses its gradient. A scalar sum.

    Source: CISPO in MiniMax-M1 (arXiv:2506.13585) eq. 4 and 5.
    """
    weight = token_ratio(tokens).clamp(1 - loss.clip_low, 1 + loss.clip_high).detach()
    return _weighted_sum(-weight * tokens.advantage * tokens.logp, tokens, loss)


def _weighted_sum(per_token: Tensor, tokens: Tokens, loss: Loss) -> Tensor:
    return (per_token * is_weight(tokens, loss.is_cap) * tokens.weight).sum()


# Loss -> (trained tokens, settings) -> the policy loss: a scalar sum.
LOSSES: dict[str, Callable[[Tokens, Loss], Tensor]] = {
    "grpo": token_clipped,
    "dr_grpo": token_clipped,
    "dapo": token_clipped,
    "gspo": sequence_clipped,
    "cispo": clipped_weight,
    "rloo": token_clipped,
    "reinforce++": token_clipped,
}


def k3(logp: Tensor, other_logp: Tensor) -> Tensor:
    """Per token estimate of KL(pi || other) in nats from samples of pi: e^d - d - 1, d = log other - log pi.

    Both and the result are (T,). Never negative.

    Source: Schulman, "Approximating KL divergence" (2020); GRPO eq. 4.
    """
    d = other_logp - logp
    return torch.expm1(d) - d


def total_loss(tokens: Tokens, loss: Loss) -> Tensor:
    """The policy loss plus kl_coef times k3 to the reference, summed over trained tokens; a scalar, not divided.

    Raises ValueError when kl_coef is above 0 and there is no reference. Source of the KL term: GRPO (arXiv:2402.03300)
    eq. 3.
    """
    tokens = tokens.selected()
    total = LOSSES[loss.kind](tokens, loss)
    if loss.kl_coef > 0:
        if tokens.ref_logp is None:
            raise ValueError("loss.kl_coef is above 0 and the tokens carry no reference log-probabilities")
        total = total + loss.kl_coef * (k3(tokens.logp, tokens.ref_logp) * tokens.weight).sum()
    return total


# --- metrics --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def loss_sums(tokens: Tokens, entropy: Tensor, loss: Loss) -> dict[str, Tensor]:
    """Sums over trained tokens, to be added over micro-batches and ranks and divided by "tokens"; (T,) entropy.

    Only "mismatch_kl/max" is a maximum. Names are those of metrics.jsonl. is/masked_frac: tokens cut at is_cap;
    clip_ratio/low and high: tokens whose ratio lies outside the range on the side where clipping stops their gradient.
    """
    entropy, tokens = entropy[tokens.mask], tokens.selected()
    ratio = sequence_ratio(tokens) if loss.kind == "gspo" else token_ratio(tokens)
    engine_ratio = torch.exp(tokens.old_logp - tokens.engine_logp)
    mismatch = k3(tokens.engine_logp, tokens.old_logp)  # the engine sampled: KL(engine || learner)
    either = loss.kind == "cispo"  # its weight is clipped whatever the sign of the advantage
    low = (ratio < 1 - loss.clip_low) & (either | (tokens.advantage < 0))
    high = (ratio > 1 + loss.clip_high) & (either | (tokens.advantage > 0))
    sums = {
        "tokens": torch.ones_like(ratio),
        "clip_ratio/low": low,
        "clip_ratio/high": high,
        "is/ratio_mean": engine_ratio,
        "is/masked_frac": engine_ratio > loss.is_cap,
        "mismatch_kl/mean": mismatch,
        "entropy": entropy,
    }
    if tokens.ref_logp is not None:
        sums["kl"] = k3(tokens.logp, tokens.ref_logp)
    out = {name: value.double().sum() for name, value in sums.items()}
    out["mismatch_kl/max"] = mismatch.double().max() if len(mismatch) else mismatch.new_zeros((), dtype=torch.float64)
    return out
