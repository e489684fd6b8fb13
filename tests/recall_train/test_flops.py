"""Counted operations agree with what PyTorch counts while it computes."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2Config, Qwen2ForCausalLM

from recall_train.flops import decoder_elements, training_flops


@pytest.mark.parametrize("tied", [True, False])
def test_operations_are_those_that_pytorch_counts(tied):
    config = Qwen2Config(
        vocab_size=500, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=tied, attn_implementation="eager",
    )  # fmt: skip
    lm, n = Qwen2ForCausalLM(config), 200
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        lm(torch.zeros(1, n, dtype=torch.long))
    masked_half = 2 * n * n * 64 * 3  # eager attention computes the upper triangle too
    forward = training_flops(config, decoder_elements(lm), [n], [n]) / 3
    assert forward == pytest.approx(counter.get_total_flops() - masked_half, rel=0.01)
