"""Packed sequences do not see each other, and the chunked head is log-softmax. Packing is exact."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from recall_env.errors import RecallError
from recall_train.attention import NAMES, attention_name
from recall_train.batch import Sample, pack
from recall_train.model import ChunkedLogProb, Policy, to_device

SHAPE = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.2,
}  # fmt: skip
CPU = torch.device("cpu")


class LargestTensor(TorchDispatchMode):
    """Notes the most elements of any tensor that an operation returned."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


def make_samples(lengths):
    rng = np.random.default_rng(0)
    samples = []
    for n in lengths:
        sampled = rng.random(n) < 0.7
        sampled[0], sampled[-1] = False, n > 1
        samples.append(Sample(rng.integers(0, 96, n), sampled, np.zeros(n, np.float32), np.zeros(n, np.float32)))
    return samples


@pytest.mark.parametrize("shape", [Qwen2Config(**SHAPE), LlamaConfig(**SHAPE)], ids=["qwen2", "llama"])
def test_packed_sequences_have_the_log_probabilities_and_gradients_of_each_alone(shape):
    torch.manual_seed(0)
    samples = make_samples([7, 1, 23, 2, 14])
    packed_lm = AutoModelForCausalLM.from_config(shape, attn_implementation=NAMES["sdpa"])
    alone_lm = AutoModelForCausalLM.from_config(shape, attn_implementation="eager")
    alone_lm.load_state_dict(packed_lm.state_dict())
    (micro,) = pack(samples, 1000)
    logp, entropy = Policy(packed_lm, temperature=0.9, logprob_chunk=5)(to_device(micro, CPU))
    expected, expected_entropy = [], []
    for sample in samples:
        ids = torch.from_numpy(sample.ids)
        every = (alone_lm(ids[None]).logits[0] / 0.9).log_softmax(-1)
        where = torch.from_numpy(sample.sampled).nonzero()[:, 0]
        expected.append(every[where - 1, ids[where]])
        expected_entropy.append(-(every.exp() * every).sum(-1)[where - 1])
    expected = torch.cat(expected)
    torch.testing.assert_close(logp, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(entropy, torch.cat(expected_entropy), rtol=0, atol=1e-5)
    weights = torch.randn(len(logp))
    (logp * weights).sum().backward()
    (expected * weights).sum().backward()
    for (name, mine), theirs in zip(packed_lm.named_parameters(), alone_lm.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_no_mask_and_no_logits_of_the_whole_batch_are_ever_made():
    lm = AutoModelForCausalLM.from_config(Qwen2Config(**SHAPE), attn_implementation=NAMES["sdpa"])
    samples = make_samples([40] * 25)
    tokens = 40 * 25
    (micro,) = pack(samples, tokens)
    with LargestTensor() as largest:
        logp, _ = Policy(lm, temperature=1.0, logprob_chunk=64)(to_device(micro, CPU))
        logp.sum().backward()
    assert largest.elements == tokens * SHAPE["intermediate_size"]  # the MLP's; logits would be 96 for each token
    assert micro.sampled.sum() * SHAPE["vocab_size"] > largest.elements


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_the_chunked_head_passes_a_gradient_check_in_double_precision(chunk):
    torch.manual_seed(0)
    hidden, weight = (torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (7, 11))
    targets = torch.randint(0, 11, (7,))
    assert torch.autograd.gradcheck(lambda h, w: ChunkedLogProb.apply(h, w, targets, 0.7, chunk)[0], (hidden, weight))


def test_a_kernel_that_cannot_run_here_is_refused_and_auto_finds_one_that_can():
    assert attention_name("auto", CPU, torch.float32) == NAMES["sdpa"]
    for setting in ("flash", "varlen"):
        with pytest.raises(RecallError, match=rf"model.attention: '{setting}' needs .* use 'auto' or 'sdpa'"):
            attention_name(setting, CPU, torch.bfloat16)


def test_a_padded_batch_with_a_mask_is_refused_rather_than_misread():
    lm = AutoModelForCausalLM.from_config(Qwen2Config(**SHAPE), attn_implementation=NAMES["sdpa"])
    with pytest.raises(ValueError, match="packed attention takes"):
        lm(torch.ones(2, 5, dtype=torch.long), attention_mask=torch.ones(2, 5, dtype=torch.long))
