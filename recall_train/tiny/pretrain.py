"""Plain next-token training of recall-tiny on demonstrations: only assistant turns are trained on.

Not the GRPO learner: there is no advantage, no engine and no DeepSpeed here, and it is used once, to make the model
that ships.
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from recall_train.tiny.imitate import Demonstration
from recall_train.tokens import ChatTokens


@dataclass(frozen=True)
class Shape:
    """recall-tiny's size: 8 MB with its tokenizer, in bfloat16."""

    vocab_size: int = 2560
    hidden: int = 192
    layers: int = 7
    heads: int = 6
    kv_heads: int = 2
    mlp: int = 512
    max_position: int = 2048


@dataclass(frozen=True)
class Corpus:
    """Demonstrations as tokens, end to end. ids, trained: (N,); episode i is [starts[i], starts[i + 1])."""

    ids: np.ndarray  # uint16
    trained: np.ndarray  # bool
    starts: np.ndarray  # int64, one more than episodes

    def __len__(self) -> int:
        return len(self.starts) - 1

    def save(self, path: Path) -> None:
        np.savez_compressed(path, ids=self.ids, trained=np.packbits(self.trained), starts=self.starts)

    @staticmethod
    def load(path: Path) -> "Corpus":
        stored = np.load(path)
        trained = np.unpackbits(stored["trained"])[: len(stored["ids"])].astype(bool)
        return Corpus(stored["ids"], trained, stored["starts"])


def tokenise(demonstrations: list[Demonstration], tokenizer_folder: Path) -> Corpus:
    """The ids a rollout of the same episodes would have, with assistant turns marked as trained. Over all cores."""
    size = 1000
    parts = [demonstrations[start : start + size] for start in range(0, len(demonstrations), size)]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        done = list(pool.map(_tokenise_part, parts, [tokenizer_folder] * len(parts)))
    starts, offset = [np.zeros(1, np.int64)], 0
    for part in done:
        starts.append(part.starts[1:] + offset)
        offset += len(part.ids)
    ids, trained = (np.concatenate([getattr(part, name) for part in done]) for name in ("ids", "trained"))
    return Corpus(ids, trained, np.concatenate(starts))


def _tokenise_part(demonstrations: list[Demonstration], tokenizer_folder: Path) -> Corpus:
    tokens = ChatTokens(tokenizer_folder)
    stop = tokens.tokenizer.eos_token_id
    ids, trained, starts = [], [], [0]
    for demo in demonstrations:
        pieces = [(tokens.start(demo.opening, demo.tools), False)]
        for number, turn in enumerate(demo.turns):
            pieces.append(([*tokens.tokenizer.encode(turn, add_special_tokens=False), stop], True))
            if number < len(demo.replies):
                pieces.append((tokens.suffix(demo.replies[number]), False))
        for piece, is_turn in pieces:
            ids += piece
            trained += [is_turn] * len(piece)
        starts.append(len(ids))
    return Corpus(np.array(ids, np.uint16), np.array(trained, bool), np.array(starts, np.int64))


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen2ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.max_position,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen2ForCausalLM(config)


def pretrain(
    model: Qwen2ForCausalLM,
    corpus: Corpus,
    *,
    steps: int,
    tokens_per_step: int,
    lr: float,
    seed: int,
    report: Callable[[int, float, float], None] = lambda step, loss, tokens_per_s: None,
) -> None:
    """AdamW with warm-up and cosine decay, in place. Batches of about tokens_per_step padded tokens."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device).train()
    if device == "cuda":
        model.model.compile(dynamic=True)  # else the time of a small model goes into launching kernels
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=device == "cuda")
    warmup = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min((s + 1) / warmup, 0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * min(1.0, s / steps))))
    )
    batches, began, seen = _batches(corpus, tokens_per_step, seed), time.perf_counter(), 0
    for step in range(1, steps + 1):
        batch, trained = next(batches)
        # Found on the host: a mask on the device would make the host wait for it at every step.
        places = np.flatnonzero(trained[:, 1:])
        arrays = batch, places, batch[:, 1:].reshape(-1)[places]
        ids, at, labels = (torch.from_numpy(array).to(device) for array in arrays)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            # padding stands on the right, so causal attention never reads it: no mask is needed
            hidden = model.model(ids, use_cache=False).last_hidden_state[:, :-1]
            logits = model.lm_head(hidden.reshape(-1, hidden.shape[-1])[at])
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        seen += ids.numel()
        if step % 50 == 0 or step == steps:
            report(step, loss.item(), seen / (time.perf_counter() - began))
    model.to("cpu").eval()


def _batches(corpus: Corpus, tokens_per_step: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Epoch after epoch of right-padded (B, T) ids and trained marks; episodes of like length share a batch."""
    rng = np.random.default_rng(seed)
    lengths = np.diff(corpus.starts)
    while True:
        order = rng.permutation(len(corpus))
        blocks = []
        for block in np.array_split(order, max(1, len(order) // 4096)):
            block = block[np.argsort(lengths[block], kind="stable")]
            start = 0
            while start < len(block):
                stop = start + 1
                while stop < len(block) and (stop + 1 - start) * lengths[block[stop]] <= tokens_per_step:
                    stop += 1
                blocks.append(block[start:stop])
                start = stop
        for chosen in rng.permutation(len(blocks)):
            yield _padded(corpus, blocks[chosen], lengths)


def _padded(corpus: Corpus, episodes: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    longest = int(lengths[episodes].max())
    ids = np.zeros((len(episodes), longest), np.int64)
    trained = np.zeros((len(episodes), longest), bool)
    for row, episode in enumerate(episodes):
        start, stop = corpus.starts[episode], corpus.starts[episode + 1]
        ids[row, : stop - start] = corpus.ids[start:stop]
        trained[row, : stop - start] = corpus.trained[start:stop]
    return ids, trained
