"""The model being trained: a Hugging Face causal LM that gives log-probabilities of packed, sampled tokens.

Logits exist for the sampled positions alone, a chunk of them at a time, in forward and in backward: (chunk, V), never
(T, V). Not here: optimisers and ranks (learner.py), decoding (engine/).
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from recall_env.errors import RecallError
from recall_train.attention import attention_name
from recall_train.batch import Microbatch
from recall_train.models import model_folder

TOKENIZER_FILES = (
    "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template*",
    "generation_config.json", "*.model",
)  # fmt: skip


def load_model(path: str, dtype: str, attention: str, device: torch.device) -> PreTrainedModel:
    """The weights at `path` on the CPU, set to attend over packed sequences on `device`.

    Raises RecallError when they cannot be loaded, or when the model is of a kind this trainer would get wrong.
    """
    disable_progress_bar()  # one line a file, in the middle of the trainer's own
    torch_dtype = getattr(torch, dtype)
    implementation = attention_name(attention, device, torch_dtype)
    try:
        lm = AutoModelForCausalLM.from_pretrained(
            model_folder(path), dtype=torch_dtype, attn_implementation=implementation
        )
    except (OSError, ValueError) as e:
        raise RecallError(f"model.path: cannot load {path}: {str(e).splitlines()[0]}") from e
    head = lm.get_output_embeddings()
    if not isinstance(head, nn.Linear) or head.bias is not None:
        raise RecallError(f"model.path: {path} ({type(lm).__name__}): expected an output layer that is one matrix")
    for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
        if getattr(lm.config, name, None) not in (None, 1, 1.0):
            raise RecallError(f"model.path: {path} ({type(lm).__name__}): its {name} is not supported")
    return lm


def copy_tokenizer(path: str, folder: Path) -> None:
    """Put the tokenizer of the model at `path` into `folder`; of a local model, its files byte for byte."""
    source = Path(model_folder(path))
    if not source.is_dir():
        AutoTokenizer.from_pretrained(path).save_pretrained(folder)
        return
    for pattern in TOKENIZER_FILES:
        for file in sorted(source.glob(pattern)):
            shutil.copyfile(file, folder / file.name)


@dataclass(frozen=True)
class Packed:
    """A Microbatch on the device, with what is only needed where a token is trained on: K such tokens."""

    ids: Tensor  # (1, T)
    position_ids: Tensor  # (1, T)
    cu_seqlens: Tensor  # (S + 1,)
    lengths: list[int]  # S of them; known on the host, so that attention never waits for the device
    before: Tensor  # (K,): where the hidden state lies that predicts the trained token, one before it
    targets: Tensor  # (K,): its id


def to_device(micro: Microbatch, device: torch.device) -> Packed:
    trained = micro.sampled.nonzero()[0]
    return Packed(
        ids=torch.from_numpy(micro.ids).to(device)[None],
        position_ids=torch.from_numpy(micro.position_ids).to(device)[None],
        cu_seqlens=torch.from_numpy(micro.cu_seqlens).to(device),
        lengths=(micro.cu_seqlens[1:] - micro.cu_seqlens[:-1]).tolist(),
        before=torch.from_numpy(trained - 1).to(device),
        targets=torch.from_numpy(micro.ids[trained]).to(device),
    )


class Policy(nn.Module):
    """packed -> log-probability and entropy, (K,) float32 each, of the trained tokens. Entropy carries no gradient."""

    def __init__(self, lm: PreTrainedModel, *, temperature: float, logprob_chunk: int):
        super().__init__()
        self.lm = lm
        self.temperature = temperature
        self.logprob_chunk = logprob_chunk

    @property
    def head_weight(self) -> nn.Parameter:
        """(V, D)."""
        return self.lm.get_output_embeddings().weight

    def forward(self, packed: Packed) -> tuple[Tensor, Tensor]:
        decoder = self.lm.get_decoder()
        hidden = decoder(
            input_ids=packed.ids, position_ids=packed.position_ids, use_cache=False,
            cu_seq_lens_q=packed.cu_seqlens, sequence_lengths=packed.lengths,
        ).last_hidden_state[0]  # fmt: skip
        return ChunkedLogProb.apply(
            hidden[packed.before], self.head_weight, packed.targets, self.temperature, self.logprob_chunk
        )


class ChunkedLogProb(torch.autograd.Function):
    """log softmax(hidden @ weight.T / temperature) at the targets, and the entropy, in float32.

    hidden: (K, D); weight: (V, D); targets: (K,). Backward makes each chunk's logits anew, so at no time do more than
    chunk x V of them exist. With g the incoming gradient: dlogits = g (onehot(target) - softmax) / temperature.
    """

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, chunk: int):
        ctx.save_for_backward(hidden, weight, targets)
        ctx.temperature, ctx.chunk = temperature, chunk
        logp = torch.empty(len(hidden), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
        entropy = torch.empty_like(logp)
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            logits = _logits(hidden[part], weight, temperature)
            lse = logits.logsumexp(-1)
            logp[part] = logits.gather(-1, targets[part, None])[:, 0] - lse
            entropy[part] = lse - (torch.exp(logits - lse[:, None]).mul_(logits)).sum(-1)
        ctx.mark_non_differentiable(entropy)
        return logp, entropy

    @staticmethod
    def backward(ctx, grad_logp: Tensor, grad_entropy: Tensor):
        hidden, weight, targets = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros(weight.shape, dtype=grad_logp.dtype, device=weight.device)
        for start in range(0, len(hidden), ctx.chunk):
            part = slice(start, start + ctx.chunk)
            g = grad_logp[part, None] / ctx.temperature
            grad = _logits(hidden[part], weight, ctx.temperature).softmax(-1).mul_(-g)
            grad.scatter_add_(-1, targets[part, None], g)
            grad = grad.to(hidden.dtype)
            grad_hidden[part] = grad @ weight
            if weight.dtype == grad_weight.dtype:
                grad_weight.addmm_(grad.T, hidden[part])
            else:  # bfloat16: chunks add up in float32
                grad_weight += grad.T @ hidden[part]
        return grad_hidden, grad_weight.to(weight.dtype), None, None, None


def _logits(hidden: Tensor, weight: Tensor, temperature: float) -> Tensor:
    logits = hidden @ weight.T
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).div_(temperature)
