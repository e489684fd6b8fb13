"""Engine: tokens in, tokens and log-probabilities out, under a numbered weight version."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

__all__ = ["Engine", "Generation", "Request", "check_request", "check_weights"]


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

    def close(self) -> None:
        """Give everything back, what is in flight included; no call may follow. Closing twice is harmless."""


def check_request(request: Request, max_context: int, vocab_size: int) -> None:
    """Raise ValueError for a request that no engine of this size can serve."""
    n = len(request.prompt_ids)
    if n == 0:
        raise ValueError(f"request {request.id}: the prompt is empty")
    if request.max_tokens < 1:
        raise ValueError(f"request {request.id}: max_tokens is {request.max_tokens}; it must be at least 1")
    if n + request.max_tokens > max_context:
        raise ValueError(
            f"request {request.id}: {n} prompt tokens and {request.max_tokens} to sample "
            f"exceed max_context {max_context}"
        )
    if not 0 <= min(request.prompt_ids) <= max(request.prompt_ids) < vocab_size:
        raise ValueError(f"request {request.id}: the prompt has ids outside the vocabulary of {vocab_size}")
    if request.seed < 0 or request.temperature < 0:
        raise ValueError(
            f"request {request.id}: seed {request.seed} and temperature {request.temperature} must be >= 0"
        )


def check_weights(
    weights: Iterable[tuple[str, torch.Tensor]], shapes: Mapping[str, torch.Size], tied: bool
) -> Iterator[tuple[str, torch.Tensor]]:
    """Pass on `weights`, checked against the model's names and shapes; raise ValueError at the first that differs.

    A name that never came is found at the end, when the others have been passed on.
    tied: the output layer is the embedding, so lm_head.weight may be absent.
    """
    missing = set(shapes)
    for name, tensor in weights:
        if name not in shapes:
            raise ValueError(f"weights: the model has no tensor {name}")
        if tensor.shape != shapes[name]:
            raise ValueError(f"weights: {name} is {tuple(tensor.shape)}, the model's is {tuple(shapes[name])}")
        missing.discard(name)
        yield name, tensor
    if tied:
        missing.discard("lm_head.weight")
    if missing:
        raise ValueError(f"weights lack {len(missing)} of the model's tensors, {min(missing)} among them")
