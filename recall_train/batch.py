"""Samples, and packing them into micro-batches under a token budget."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sample:
    """What the learner needs of one trajectory. Arrays are (T,)."""

    ids: np.ndarray  # int64
    sampled: np.ndarray  # bool: trained on where True (never at position 0: nothing predicts it)
    logprobs: np.ndarray  # float32: of the sampled ids under the engine; 0 elsewhere
    advantage: np.ndarray  # float32: per token; 0 where not sampled
