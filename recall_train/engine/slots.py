"""Keys and values of the torch engine: one slot per sequence, and the attention that writes and reads them.

The model runs on packed tokens (1, T): every sequence brings the ids it has not computed yet, one for a sequence that
decodes, many for a new prompt. Attention is the only layer that must know where one sequence ends: it is registered
with transformers under ATTENTION, so any architecture whose layers are full attention works unchanged. Slots also
remember whose keys they hold, so that a prompt is computed only from where it differs.
Not paged, not shared between sequences: a prefix found in another slot is copied.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PretrainedConfig

ATTENTION = "recall_slots"


class SlotCache:
    """`slots` sequences of at most `max_context` tokens. Idle slots keep their content until it is overwritten."""

    def __init__(self, config: PretrainedConfig, slots: int, max_context: int, dtype: torch.dtype, device: str):
        kv_heads = config.num_key_value_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.max_context = max_context
        self.device = device
        # Zeros, not empty: a masked cell is multiplied by 0, and 0 x NaN is NaN. On CPU untouched pages cost nothing.
        shape = (config.num_hidden_layers, 2, slots, max_context, kv_heads, head_dim)
        self.keys_values = torch.zeros(shape, dtype=dtype, device=device)
        self._cells = self.keys_values.flatten(2, 3)  # (layers, 2, slots * max_context, kv_heads, head_dim)
        self._ids = np.full((slots, max_context), -1)  # the ids whose keys and values are held; -1: nothing
        self.filled = np.zeros(slots, dtype=np.int64)
        self._session = [""] * slots
        self._released_at = [0] * slots  # a count, not a time; least recently used goes first
        self._clock = 0
        self.idle = set(range(slots))

    def reserve(self, prompt_ids: Sequence[int], session: str, wanted: set[str]) -> int:
        """Take an idle slot (there must be one) and bring in the longest prefix of the prompt that any slot holds.

        The session's own slot if it is idle, else the least recently used, sparing those of the sessions in
        `wanted`. `filled[slot]` says how much of the prompt is there: never all of it, the last id's logits are needed.
        """
        own = [slot for slot in self.idle if session and self._session[slot] == session]
        spare = own or self.idle
        slot = min(spare, key=lambda s: (self._session[s] in wanted, self._released_at[s], s))
        prefix = np.asarray(prompt_ids[:-1], dtype=np.int64)
        differs = self._ids[:, : len(prefix)] != prefix
        common = np.where(differs.any(axis=1), differs.argmax(axis=1), len(prefix)) if len(prefix) else self.filled * 0
        source, n = int(common.argmax()), int(common.max())
        if common[slot] < n:
            self.keys_values[:, :, slot, :n] = self.keys_values[:, :, source, :n]
            self._ids[slot, :n] = prefix[:n]
        self._ids[slot, n:] = -1
        self.filled[slot] = n
        self._session[slot] = session
        self.idle.remove(slot)
        return slot

    def extend(self, slot: int, ids: Sequence[int]) -> None:
        """Record ids whose keys and values a forward pass has just written."""
        end = self.filled[slot] + len(ids)
        self._ids[slot, self.filled[slot] : end] = ids
        self.filled[slot] = end

    def release(self, slot: int) -> None:
        self._clock += 1
        self._released_at[slot] = self._clock
        self.idle.add(slot)

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor, cells: torch.Tensor) -> None:
        """keys, values: (T, kv_heads, head_dim); cells: (T,) places, slot * max_context + position."""
        self._cells[layer, 0].index_copy_(0, cells, keys)
        self._cells[layer, 1].index_copy_(0, cells, values)


@dataclass(frozen=True)
class Span:
    """Several new ids of one sequence: packed tokens start..end, after `past` tokens already in its slot."""

    start: int
    end: int
    slot: int
    past: int
    mask: torch.Tensor | None  # (new, past + new) True where attended; None when past is 0: plain causal


class Pass:
    """Where each packed token of one forward pass lives. Sequences with one new id come first: they share one call."""

    def __init__(self, cache: SlotCache, slots: Sequence[int], new: Sequence[Sequence[int]]):
        """slots, new: one entry per sequence, those with a single new id first."""
        self.cache = cache
        lengths = [len(ids) for ids in new]
        past = cache.filled[list(slots)]
        ends = np.cumsum(lengths)
        starts = ends - lengths
        positions = np.arange(ends[-1]) + np.repeat(past - starts, lengths)
        place = self._place
        self.ids = place(np.fromiter((i for ids in new for i in ids), np.int64, ends[-1]))[None]
        self.positions = place(positions)[None]
        self.cells = place(positions + np.repeat(slots, lengths) * cache.max_context)
        self.last = place(ends - 1)  # where each sequence's next-token logits come from
        self.singles = lengths.count(1)
        self._plan_singles(np.asarray(slots[: self.singles]), past[: self.singles])
        self.spans = [
            Span(int(starts[i]), int(ends[i]), slots[i], int(past[i]), self._lower_right(lengths[i], int(past[i])))
            for i in range(self.singles, len(slots))
        ]

    def _plan_singles(self, slots: np.ndarray, past: np.ndarray) -> None:
        """Attend over all slots in place when most of them decode; gather the few when few do."""
        n_slots = len(self.cache.filled)
        self.in_place = 2 * len(slots) > n_slots
        visible = past
        if self.in_place:
            visible = np.zeros(n_slots, dtype=np.int64)  # a slot that does not decode sees one cell: no empty softmax
            visible[slots] = past
        self.single_slots = self._place(slots)
        self.used = int(past.max(initial=0)) + 1
        columns = torch.arange(self.used, device=self.cache.device)
        self.single_mask = (columns <= self._place(visible)[:, None])[:, None, None]

    def _lower_right(self, new: int, past: int) -> torch.Tensor | None:
        if past == 0:
            return None
        return torch.ones(new, past + new, dtype=torch.bool, device=self.cache.device).tril(past)

    def _place(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.cache.device)


def attend(module, query, key, value, attention_mask, *, scaling: float, slots: Pass, **_):
    """transformers' attention interface. query: (1, heads, T, head_dim); key, value: (1, kv_heads, T, head_dim).

    Returns (1, T, heads, head_dim) and None. `slots` is what the engine passed to the model's forward; the rest of
    the keywords describe masks and dropout, which have no part here.
    """
    slots.cache.write(module.layer_idx, key[0].transpose(0, 1), value[0].transpose(0, 1), slots.cells)
    keys, values = slots.cache.keys_values[module.layer_idx]  # each (slots, max_context, kv_heads, head_dim)
    parts = []
    if slots.singles:
        parts.append(_attend_singles(query[0, :, : slots.singles].transpose(0, 1), keys, values, scaling, slots))
    for span in slots.spans:
        known = slice(0, span.past + span.end - span.start)
        out = scaled_dot_product_attention(
            query[:, :, span.start : span.end],
            keys[span.slot, None, known].transpose(1, 2),
            values[span.slot, None, known].transpose(1, 2),
            attn_mask=span.mask,
            is_causal=span.mask is None,
            scale=scaling,
            enable_gqa=True,
        )
        parts.append(out[0].transpose(0, 1))
    return torch.cat(parts)[None], None


def _attend_singles(query, keys, values, scaling: float, slots: Pass) -> torch.Tensor:
    """query: (sequences, heads, head_dim), and so the result. Heads that share a key are rows of one small matrix."""
    kv_heads, head_dim = keys.shape[2:]
    rows = query.reshape(len(query), kv_heads, -1, head_dim)
    keys, values = keys[:, : slots.used], values[:, : slots.used]
    if slots.in_place:
        rows = rows.new_zeros(len(keys), *rows.shape[1:]).index_copy_(0, slots.single_slots, rows)
    else:
        keys, values = keys[slots.single_slots], values[slots.single_slots]
    out = scaled_dot_product_attention(
        rows, keys.transpose(1, 2), values.transpose(1, 2), attn_mask=slots.single_mask, scale=scaling
    )
    if slots.in_place:
        out = out[slots.single_slots]
    return out.reshape(query.shape)


AttentionInterface.register(ATTENTION, attend)
