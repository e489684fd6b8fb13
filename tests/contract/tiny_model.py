"""A random Qwen2 of 30k parameters, samples for it, and what plain PyTorch makes of them. For the learner's tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from recall_train import config, grpo
from recall_train.batch import Sample
from recall_train.learner import Learner

VOCAB = 128
TEMPERATURE = 0.7
LR = 1e-3


def make_model(folder: Path) -> str:
    torch.manual_seed(0)
    shape = Qwen2Config(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, initializer_range=0.1,
    )  # fmt: skip
    Qwen2ForCausalLM(shape).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(b'{"version": "1.0"}\r\n')
    return str(folder)


def make_samples(count: int = 8, seed: int = 0) -> list[Sample]:
    """Of 5 to 39 tokens; engine log-probabilities about those of a uniform model, so importance weights differ."""
    rng = np.random.default_rng(seed)
    samples = []
    for n in rng.integers(5, 40, count):
        sampled = rng.random(n) < 0.6
        sampled[0], sampled[-1] = False, True
        logprobs = np.where(sampled, rng.normal(-np.log(VOCAB), 0.8, n), 0).astype(np.float32)
        advantage = np.where(sampled, rng.normal(), 0).astype(np.float32)
        samples.append(Sample(rng.integers(0, VOCAB, n), sampled, logprobs, advantage))
    return samples


def make_learner(model: str, *, loss: str = "dapo", seed: int = 0, kl_coef: float = 0.0, **settings) -> Learner:
    learner = config.Learner(**{"lr": LR, "tokens_per_microbatch": 64, "logprob_chunk": 16} | settings)
    return Learner(
        model, config.Model(), learner, config.Loss(kind=loss, kl_coef=kl_coef),
        seed=seed, temperature=TEMPERATURE,
    )  # fmt: skip


def weights_of(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in learner.named_weights()}


class PlainPyTorch:
    """One sequence at a time, eager attention, all logits; the losses written from their definitions."""

    def __init__(self, model: str):
        self.lm = AutoModelForCausalLM.from_pretrained(model, attn_implementation="eager", dtype=torch.float32)

    def logprobs(self, sample: Sample) -> torch.Tensor:
        ids = torch.from_numpy(sample.ids)
        logits = self.lm(ids[None]).logits[0, :-1] / TEMPERATURE
        logp = logits.log_softmax(-1)[torch.arange(len(ids) - 1), ids[1:]]
        return logp[torch.from_numpy(sample.sampled[1:])]

    def loss(self, kind: str, samples: list[Sample]) -> torch.Tensor:
        """Where pi = pi_old, every loss's gradient is that of REINFORCE with truncated importance weights."""
        total, all_tokens = torch.zeros(()), sum(int(s.sampled.sum()) for s in samples)
        for sample in samples:
            logp = self.logprobs(sample)
            advantage = torch.from_numpy(sample.advantage[sample.sampled])
            importance = (logp.detach() - torch.from_numpy(sample.logprobs[sample.sampled])).exp().clamp(max=2.0)
            per_token = -advantage * importance * logp
            if kind in ("grpo", "gspo"):
                total = total + per_token.mean() / len(samples)
            elif kind == "dr_grpo":
                total = total + per_token.sum() / grpo.DR_GRPO_TOKENS / len(samples)
            else:
                total = total + per_token.sum() / all_tokens
        return total

    def gradients(self, kind: str, samples: list[Sample]) -> dict[str, torch.Tensor]:
        self.lm.zero_grad()
        self.loss(kind, samples).backward()
        return {name: p.grad.clone() for name, p in self.lm.named_parameters()}


@contextmanager
def captured_gradients(learner: Learner) -> Iterator[list[dict[str, torch.Tensor]]]:
    """What every optimiser step met, over all ranks and before clipping: one dict an update."""
    from deepspeed.utils import safe_get_full_grad  # after recall_train.learner, which tells DeepSpeed the device

    seen: list[dict[str, torch.Tensor]] = []
    finish = learner._finish

    def capture() -> float:
        seen.append({name: safe_get_full_grad(p).float().clone() for name, p in learner.lm.named_parameters()})
        return finish()

    learner._finish = capture
    try:
        yield seen
    finally:
        learner._finish = finish
