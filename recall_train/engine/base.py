"""Engine: tokens in, tokens and log-probabilities out, under a numbered weight version."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch


@dataclass(frozen=True)
class Request:
    """One turn to sample. The prompt of turn k+1 begins with every id of turn k, so a prefix cache always hits."""

    id: str  # unique among the requests in flight
    prompt_ids: tuple[int, ...]
    max_tokens: int  # at least 1; the stop token counts
    seed: int  # sampling depends on (seed, prompt, weights) alone, not on what else is in flight
    temperature: float = 1.0  # 0 is greedy
    session: str = ""  # requests of one trajectory share it: where the engine may look for a cached prefix


@dataclass(frozen=True)
class Generation:
    """What came back. `ids` ends with the stop token when finish == "stop"."""

    id: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]  # of each id, under the distribution it was sampled from; len(ids) of them
    finish: Literal["stop", "length"]
    version: int  # of the weights that sampled every one of these ids


class Engine(Protocol):
    """Continuous batching behind two calls; one thread drives it. top_p is 1 and top_k is off, always."""

    version: int  # of the weights now loaded
    max_context: int  # prompt plus sampled tokens of one request

    def submit(self, request: Request) -> None:
        """Queue a request. Raises ValueError when it cannot fit max_context."""

    def step(self) -> list[Generation]:
        """Advance every running request by at least one token; return those that finished. [] when idle."""

    @property
    def inflight(self) -> int:
        """Requests queued or running."""

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Replace the weights (Hugging Face names, full tensors), drop every cached prefix, set `version`.

        Only while nothing is in flight. Wakes the engine when it sleeps."""

    def sleep(self) -> None:
        """Give device memory back while the learner steps; weights and caches are lost. load_weights wakes it."""

    def close(self) -> None: ...
