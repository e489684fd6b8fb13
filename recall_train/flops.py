"""Floating-point operations that a step of learning needs, and what a device can do: model FLOPs utilisation.

Counted is what the model needs and no more: nothing for gradient checkpointing, for old or reference log-probabilities,
or for padding. Source: PaLM (arXiv:2204.02311) appendix B.
"""

from collections.abc import Sequence

from transformers import PretrainedConfig, PreTrainedModel

# Dense bfloat16 operations a second, by torch.cuda.get_device_name(); the makers' data sheets. What is not here has
# no perf/mfu.
PEAK_BF16 = {
    "NVIDIA H200": 989e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
}


def decoder_elements(lm: PreTrainedModel) -> int:
    """Elements of the matrices that every token is multiplied with: all of them, but embedding and output layer.

    To be asked before ZeRO-3 has cut the parameters up.
    """
    outside = {id(lm.get_input_embeddings().weight), id(lm.get_output_embeddings().weight)}
    return sum(p.numel() for p in lm.parameters() if p.dim() > 1 and id(p) not in outside)


def training_flops(config: PretrainedConfig, elements: int, lengths: Sequence[int], trained: Sequence[int]) -> float:
    """Forward and backward over packed sequences: 2 operations an element and token forward, 4 backward.

    elements: decoder_elements; lengths: tokens of each sequence; trained: those of them with logits.
    """
    width = config.num_attention_heads * (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    layers = elements * sum(lengths)
    attention = config.num_hidden_layers * width * sum(n * n for n in lengths)  # causal: half of two n x n products
    head = config.vocab_size * config.hidden_size * sum(trained)
    return 6.0 * (layers + attention + head)
