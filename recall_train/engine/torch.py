"""TorchEngine: the reference engine. A Hugging Face model, continuous batching, exact log-probabilities; no kernels.

It plays the laptop demo and is what other engines are compared with. On CPU the same calls in the same order give the
same bytes. What else is in flight changes a result only through the rounding of matrix products.
Not for large models: no CUDA graphs, no paging, one device.
"""

from collections import deque
from collections.abc import Iterable

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from recall_train.engine.base import Generation, Request, check_request, check_weights
from recall_train.engine.slots import ATTENTION, Pass, SlotCache

PREFILL_TOKENS = 4096  # new prompt tokens of one step, so that its activations stay small and decoding goes on


class _Turn:
    """A running request: its slot, what it has sampled, and the ids not yet in the slot."""

    def __init__(self, request: Request, slot: int, cached: int):
        self.request = request
        self.slot = slot
        self.pending: list[int] = list(request.prompt_ids[cached:])
        # One uniform per token, drawn ahead from the seed alone: batching cannot change the draw.
        self.uniforms = np.random.Generator(np.random.Philox(key=request.seed)).random(request.max_tokens)
        self.ids: list[int] = []
        self.logprobs: list[float] = []


class TorchEngine:
    def __init__(
        self, model_path: str, *, max_running: int, max_context: int, dtype: str, device: str, stop_ids: frozenset[int]
    ):
        """dtype: "float32" or "bfloat16", of weights and cache; device: as torch names it.

        stop_ids end a turn and are part of it. Holds max_running slots of max_context tokens from the start."""
        self.version = 0
        self.max_context = max_context
        self._max_running = max_running
        self._stop_ids = stop_ids
        self._device = device
        self._dtype = getattr(torch, dtype)
        model = AutoModelForCausalLM.from_pretrained(model_path, dtype=self._dtype, attn_implementation=ATTENTION)
        layers = set(getattr(model.config, "layer_types", None) or ["full_attention"])
        if layers != {"full_attention"}:
            raise ValueError(f'{model_path}: engine.kind = "torch" has full attention only, the model has {layers}')
        self._model = model.to(device).eval()
        self._parameters = dict(self._model.state_dict(keep_vars=True))
        self._queue: deque[Request] = deque()
        self._running: list[_Turn] = []
        self._names: set[str] = set()  # ids of the requests in flight
        self._cache: SlotCache | None = self._empty_cache()

    @property
    def inflight(self) -> int:
        return len(self._queue) + len(self._running)

    def submit(self, request: Request) -> None:
        if self._model is None:
            raise RuntimeError("the engine is closed")
        if self._cache is None:
            raise RuntimeError("the engine sleeps; load_weights wakes it")
        check_request(request, self.max_context, self._model.config.vocab_size)
        if request.id in self._names:
            raise ValueError(f"request {request.id}: a request of this id is in flight")
        self._names.add(request.id)
        self._queue.append(request)

    @torch.inference_mode()
    def step(self) -> list[Generation]:
        if not self.inflight:
            return []
        self._running += self._admit()
        # Stable: the order of requests within each kind is that of submission.
        self._running.sort(key=lambda turn: len(turn.pending) > 1)
        turns = self._running
        where = Pass(self._cache, [turn.slot for turn in turns], [turn.pending for turn in turns])
        logits = self._model(
            input_ids=where.ids, position_ids=where.positions, use_cache=False, logits_to_keep=where.last, slots=where
        ).logits[0]
        ids, logprobs = sample(
            logits,
            self._column([turn.request.temperature for turn in turns], torch.float32),
            self._column([turn.uniforms[len(turn.ids)] for turn in turns], torch.float64),
        )
        for turn, token, logprob in zip(turns, ids.tolist(), logprobs.tolist(), strict=True):
            self._cache.extend(turn.slot, turn.pending)
            turn.pending = [token]
            turn.ids.append(token)
            turn.logprobs.append(logprob)
        return self._retire()

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """After an error (a name or shape that is not the model's) the weights are mixed: the engine sleeps."""
        if self.inflight:
            raise RuntimeError(f"weights can be loaded only while nothing is in flight; {self.inflight} requests are")
        if self._model is None:
            raise RuntimeError("the engine is closed")
        self._cache = None
        shapes = {name: ours.shape for name, ours in self._parameters.items()}
        with torch.no_grad():
            for name, tensor in check_weights(weights, shapes, self._model.config.tie_word_embeddings):
                self._parameters[name].copy_(tensor)
        self._cache = self._empty_cache()
        self.version = version

    def sleep(self) -> None:
        if self.inflight:
            raise RuntimeError(f"the engine can sleep only while nothing is in flight; {self.inflight} requests are")
        self._cache = None

    def close(self) -> None:
        self._queue.clear()
        self._running.clear()
        self._names.clear()
        self._cache = self._model = None
        self._parameters = {}

    def _admit(self) -> list[_Turn]:
        """Queued requests that get a slot now, first come first served, up to PREFILL_TOKENS new tokens.

        Of requests with the same prompt (a group's first turns) one goes ahead; the others find its keys and values
        at the next step instead of computing them again."""
        admitted: list[_Turn] = []
        waiting: deque[Request] = deque()
        prompts: set[tuple[int, ...]] = set()
        wanted = {request.session for request in self._queue if request.session}
        tokens = 0
        while self._queue and self._cache.idle and tokens < PREFILL_TOKENS:
            request = self._queue.popleft()
            if request.prompt_ids in prompts:
                waiting.append(request)
                continue
            slot = self._cache.reserve(request.prompt_ids, request.session, wanted)
            turn = _Turn(request, slot, int(self._cache.filled[slot]))
            admitted.append(turn)
            tokens += len(turn.pending)
            if len(turn.pending) > 1:
                prompts.add(request.prompt_ids)
        self._queue.extendleft(reversed(waiting))
        return admitted

    def _retire(self) -> list[Generation]:
        finished, going = [], []
        for turn in self._running:
            stopped = turn.ids[-1] in self._stop_ids
            if not stopped and len(turn.ids) < turn.request.max_tokens:
                going.append(turn)
                continue
            finish = "stop" if stopped else "length"
            ids, logprobs = tuple(turn.ids), tuple(turn.logprobs)
            finished.append(Generation(turn.request.id, ids, logprobs, finish, self.version))
            self._cache.release(turn.slot)
            self._names.remove(turn.request.id)
        self._running = going
        return finished

    def _empty_cache(self) -> SlotCache:
        return SlotCache(self._model.config, self._max_running, self.max_context, self._dtype, self._device)

    def _column(self, values: list[float], dtype: torch.dtype) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype, device=self._device)[:, None]


def sample(logits: torch.Tensor, temperature: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One token per row by inverse CDF, and its log-probability in fp32 under the distribution it was drawn from.

    logits: (B, V); temperature, uniform: (B, 1), uniform in [0, 1) and fp64, as is the CDF: the tail of a large
    vocabulary is lost to fp32 sums. Temperature 0 takes the likeliest token and gives its log-probability at
    temperature 1.
    """
    greedy = temperature == 0
    logprobs = torch.log_softmax(logits.float() / torch.where(greedy, 1.0, temperature), dim=-1)
    cdf = logprobs.double().exp_().cumsum(-1)
    drawn = torch.searchsorted(cdf, uniform * cdf[:, -1:], right=True).clamp_max_(logits.shape[-1] - 1)
    ids = torch.where(greedy, logits.argmax(-1, keepdim=True), drawn)
    return ids[:, 0], logprobs.gather(-1, ids)[:, 0]
