"""Samples, and packing them into micro-batches under a token budget.

Packed: sequences lie one after the other, without padding; attention keeps them apart by cu_seqlens (attention.py).
Not here: tensors and devices (learner.py), what an advantage is (grpo.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Microbatch", "Sample", "pack"]


@dataclass(frozen=True)
class Sample:
    """What the learner needs of one trajectory. Arrays are (T,)."""

    ids: np.ndarray  # int64
    sampled: np.ndarray  # bool: trained on where True (never at position 0: nothing predicts it)
    logprobs: np.ndarray  # float32: of the sampled ids under the engine; 0 elsewhere
    advantage: np.ndarray  # float32: per token; 0 where not sampled


@dataclass(frozen=True)
class Microbatch:
    """S sequences packed into one forward pass. Arrays are (T,), T being the sum of their lengths, unless said."""

    ids: np.ndarray  # int64
    position_ids: np.ndarray  # int64, from 0 in every sequence
    cu_seqlens: np.ndarray  # int32 (S + 1,): sequence s lies at [cu_seqlens[s], cu_seqlens[s + 1])
    max_seqlen: int
    sampled: np.ndarray  # bool: trained on
    logprobs: np.ndarray  # float32, under the engine
    advantage: np.ndarray  # float32
    weight: np.ndarray  # float32: of each token in the loss (grpo.token_weights); 0 where not sampled
    sequence: np.ndarray  # int64: which sequence of this micro-batch, from 0
    samples: np.ndarray  # int64 (S,): which of the samples given to pack each sequence is


def pack(
    samples: Sequence[Sample], tokens_per_microbatch: int, weights: Sequence[float] | np.ndarray | None = None
) -> list[Microbatch]:
    """Cut samples into as few micro-batches as first-fit-decreasing finds; the same input gives the same cut.

    A sample longer than the budget gets a micro-batch of its own, the only one over the budget. weights: of a trained
    token of each sample, 1 when left out.
    """
    lengths = [len(sample.ids) for sample in samples]
    if weights is None:
        weights = np.ones(len(samples))
    bins: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(samples)), key=lambda i: (-lengths[i], i)):
        number = next((k for k, left in enumerate(room) if lengths[index] <= left), len(bins))
        if number == len(bins):
            bins.append([])
            room.append(tokens_per_microbatch)
        bins[number].append(index)
        room[number] -= lengths[index]
    return [_microbatch(samples, sorted(members), weights) for members in bins]


def _microbatch(samples: Sequence[Sample], members: list[int], weights: Sequence[float] | np.ndarray) -> Microbatch:
    chosen = [samples[i] for i in members]
    lengths = np.array([len(sample.ids) for sample in chosen])
    sampled = np.concatenate([sample.sampled for sample in chosen]).astype(bool)
    weight = np.repeat([weights[i] for i in members], lengths)
    return Microbatch(
        ids=np.concatenate([sample.ids for sample in chosen]).astype(np.int64),
        position_ids=np.concatenate([np.arange(n) for n in lengths]),
        cu_seqlens=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
        max_seqlen=int(lengths.max()),
        sampled=sampled,
        logprobs=np.concatenate([sample.logprobs for sample in chosen]).astype(np.float32),
        advantage=np.concatenate([sample.advantage for sample in chosen]).astype(np.float32),
        weight=np.where(sampled, weight, 0.0).astype(np.float32),
        sequence=np.repeat(np.arange(len(chosen)), lengths),
        samples=np.array(members, dtype=np.int64),
    )


def balance(lengths: Sequence[int], ranks: int, hidden_size: int = 1024) -> list[list[int]]:
    """Deal sequences out to ranks so that each has about the same work; the indices of each rank, in order.

    The cost of T tokens is T (1 + T / 12h): linear layers take 24h^2 operations per token and layer, causal attention
    2Th. Longest first, each to the rank with the least so far (Graham 1969: at most 4/3 of the best split).
    """
    cost = [length * (1 + length / (12 * hidden_size)) for length in lengths]
    dealt: list[list[int]] = [[] for _ in range(ranks)]
    load = [0.0] * ranks
    for index in sorted(range(len(lengths)), key=lambda i: (-cost[i], i)):
        rank = min(range(ranks), key=lambda r: (load[r], len(dealt[r]), r))
        dealt[rank].append(index)
        load[rank] += cost[index]
    return [sorted(indices) for indices in dealt]
