"""Attention over packed sequences, as Hugging Face attention implementations.

Sequences lie one after the other in a batch of one row, (1, T, ...); cu_seqlens says where each begins. No mask of any
shape exists: an implementation that the model's mask interface does not know makes it build none. Three kernels behind
one signature; the fastest that works here is chosen by `attention_name`. Not here: caches, decoding, padding.

Measured on 2 CPU cores, fp32, 20 sequences of 400 tokens, 6 heads of 32: one SDPA call per sequence takes 52 ms forward
and backward, one call over the same as a padded batch 59 ms; so packed sequences are never padded back.
"""

import importlib.util
import inspect

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from recall_env.errors import RecallError


def attention_name(setting: str, device: torch.device, dtype: torch.dtype) -> str:
    """The registered implementation for config.model.attention. Raises RecallError for one that cannot work here."""
    half_on_cuda = device.type == "cuda" and dtype in (torch.bfloat16, torch.float16)
    has = {
        "flash": half_on_cuda and _has_flash_attn(),
        "varlen": half_on_cuda and importlib.util.find_spec("torch.nn.attention.varlen") is not None,
        "sdpa": True,
    }
    if setting == "auto":
        setting = next(name for name in ("flash", "varlen", "sdpa") if has[name])
    if not has[setting]:
        needs = {"flash": "flash-attn, CUDA and bfloat16", "varlen": "PyTorch's varlen_attn, CUDA and bfloat16"}
        raise RecallError(f"model.attention: {setting!r} needs {needs[setting]}; use 'auto' or 'sdpa'")
    return NAMES[setting]


def _has_flash_attn() -> bool:
    """Whether it can be imported, not only found: a build for another torch is found too."""
    try:
        from flash_attn import flash_attn_varlen_func  # noqa: F401
    except ImportError:
        return False
    return True


def _flash(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, lengths: list[int], scale: float) -> Tensor:
    from flash_attn import flash_attn_varlen_func  # an optional extra

    longest = max(lengths)
    return flash_attn_varlen_func(
        q, k, v, cu_seqlens, cu_seqlens, longest, longest, softmax_scale=scale, causal=True
    )  # fmt: skip


def _varlen(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, lengths: list[int], scale: float) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn  # torch says nothing about machines without CUDA

    accepted = inspect.signature(varlen_attn).parameters  # keyword names changed between releases
    causal = {"window_size": (-1, 0)} if "window_size" in accepted else {"is_causal": True}
    if "enable_gqa" in accepted:
        causal["enable_gqa"] = True
    elif (groups := q.shape[1] // k.shape[1]) > 1:
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    longest = max(lengths)
    return varlen_attn(q, k, v, cu_seqlens, cu_seqlens, longest, longest, scale=scale, **causal)


def _sdpa(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, lengths: list[int], scale: float) -> Tensor:
    # split and cat have one backward node each; slicing would write a (T, H, D) of zeros for every sequence.
    parts = zip(*(x.transpose(0, 1).unsqueeze(0).split(lengths, 2) for x in (q, k, v)), strict=True)
    out = [F.scaled_dot_product_attention(*qkv, is_causal=True, scale=scale, enable_gqa=True) for qkv in parts]
    return torch.cat(out, 2).squeeze(0).transpose(0, 1)


def _registered(kernel):
    """A kernel of (T, H, D) queries and (T, H_kv, D) keys and values as Hugging Face calls it."""

    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
        scaling: float | None = None, dropout: float = 0.0, sliding_window: int | None = None,
        cu_seq_lens_q: Tensor | None = None, sequence_lengths: list[int] | None = None, **others,
    ):  # fmt: skip
        # dropout is left out on purpose: the engine that sampled the tokens had none.
        if attention_mask is not None or sequence_lengths is None or cu_seq_lens_q is None:
            raise ValueError("packed attention takes cu_seq_lens_q and sequence_lengths, and no attention_mask")
        if sliding_window is not None and max(sequence_lengths) > sliding_window:
            raise ValueError(f"a sequence of {max(sequence_lengths)} exceeds the model's window of {sliding_window}")
        if others.get("softcap") is not None or others.get("s_aux") is not None:
            raise ValueError("packed attention has neither soft-capping nor attention sinks")
        q, k, v = (x.squeeze(0).transpose(0, 1) for x in (query, key, value))  # (1, H, T, D) -> (T, H, D)
        scale = q.shape[-1] ** -0.5 if scaling is None else scaling
        return kernel(q, k, v, cu_seq_lens_q, sequence_lengths, scale).unsqueeze(0), None

    return attention


# Names without "flash" and "sdpa": transformers looks for these words and demands its own conditions.
NAMES = {"flash": "recall_packed_fa", "varlen": "recall_packed_varlen", "sdpa": "recall_packed_loop"}
for _setting, _kernel in {"flash": _flash, "varlen": _varlen, "sdpa": _sdpa}.items():
    AttentionInterface.register(NAMES[_setting], _registered(_kernel))
