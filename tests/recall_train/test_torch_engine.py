"""What the torch engine promises beyond the contract: the same bytes, no token computed twice, other architectures."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from recall_train.engine.base import Request
from recall_train.engine.torch import TorchEngine, sample

SIZE = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.15,
}
PROMPT = tuple(range(10, 50))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZE, tie_word_embeddings=False)).eval()
    path = tmp_path_factory.mktemp("llama")
    model.save_pretrained(path)
    return str(path), model


def make(path: str, max_running: int = 4) -> TorchEngine:
    return TorchEngine(
        path, max_running=max_running, max_context=96, dtype="float32", device="cpu", stop_ids=frozenset({3})
    )


def play(engine: TorchEngine, *requests: Request) -> dict:
    for request in requests:
        engine.submit(request)
    done = {}
    while engine.inflight:
        done |= {generation.id: generation for generation in engine.step()}
    return done


@pytest.fixture
def computed(monkeypatch):
    """A list that grows by the number of tokens of each forward pass."""
    counts = []

    def count(module, args, kwargs):
        counts.append(kwargs["input_ids"].numel())

    def watch(engine):
        engine._model.register_forward_pre_hook(count, with_kwargs=True)
        return counts

    return watch


def test_llama_with_its_own_output_layer_gives_the_plain_forward_pass(llama):
    path, model = llama
    got = play(make(path), Request("x", PROMPT, 20, seed=1), Request("y", PROMPT[3:], 20, seed=2))["x"]
    with torch.no_grad():
        logits = model(torch.tensor([[*PROMPT, *got.ids]])).logits[0, len(PROMPT) - 1 : -1]
    want = torch.log_softmax(logits, -1).gather(1, torch.tensor(got.ids)[:, None])[:, 0]
    assert got.logprobs == pytest.approx(want.tolist(), abs=1e-5)


def test_the_same_calls_give_the_same_bytes(llama):
    requests = [Request(str(i), PROMPT[: 5 + i], 10 + i, seed=i, session=str(i % 5)) for i in range(20)]
    assert play(make(llama[0]), *requests) == play(make(llama[0]), *requests)


def test_a_groups_prompt_is_computed_once(llama, computed):
    engine = make(llama[0])
    counts = computed(engine)
    play(engine, *(Request(str(i), PROMPT, 1, seed=i, session=str(i)) for i in range(12)))
    assert sum(counts) == len(PROMPT) + 11  # the leader's prompt; of the others the last token, for its logits


def test_a_second_turn_computes_only_its_new_ids(llama, computed):
    engine = make(llama[0])
    first = play(engine, Request("x", PROMPT, 5, seed=0, session="s"))["x"]
    counts = computed(engine)
    play(engine, Request("x", (*PROMPT, *first.ids, 60, 61), 1, seed=0, session="s"))
    assert counts == [3]  # the last sampled id was never fed to the model, and the two new ones


def test_a_new_session_takes_the_slot_that_was_released_first(llama, computed):
    engine = make(llama[0], max_running=3)
    prompts = {name: tuple(range(start, start + 20)) for name, start in [("a", 10), ("b", 40), ("c", 70), ("d", 100)]}
    for name in "abcd":  # d takes a's slot
        play(engine, Request(name, prompts[name], 1, seed=0, session=name))
    counts = computed(engine)
    play(engine, *(Request(name, (*prompts[name], 9), 1, seed=0, session=name) for name in "bcd"))
    assert sum(counts) == 3  # of each its new last id alone
    counts.clear()
    play(engine, Request("a", (*prompts["a"], 9), 1, seed=0, session="a"))
    assert counts == [21]


def test_a_queued_sessions_slot_is_spared(llama, computed):
    engine = make(llama[0], max_running=2)
    play(engine, Request("a", PROMPT, 1, seed=0, session="a"))
    play(engine, Request("b", PROMPT[20:], 1, seed=0, session="b"))
    counts = computed(engine)
    play(engine, Request("new", (7, 8, 9), 1, seed=0, session="new"), Request("a", (*PROMPT, 5), 1, 0, session="a"))
    assert sum(counts) == 3 + 1


def test_sliding_windows_are_refused(tmp_path):
    config = Qwen2Config(**SIZE, use_sliding_window=True, sliding_window=8, max_window_layers=1)
    Qwen2ForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="sliding_attention"):
        make(str(tmp_path))


def test_the_draw_follows_the_uniform_through_the_cdf_to_its_ends():
    logits = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log().expand(6, 4)
    uniform = torch.tensor([0.0, 0.0999, 0.1001, 0.3001, 0.6001, 1 - 2**-53], dtype=torch.float64)[:, None]
    ids, logprobs = sample(logits, torch.ones(6, 1), uniform)
    assert ids.tolist() == [0, 0, 1, 2, 3, 3]
    assert logprobs.exp().tolist() == pytest.approx([0.1, 0.1, 0.2, 0.3, 0.4, 0.4])


def test_a_token_of_probability_zero_is_never_drawn():
    logits = torch.tensor([[float("-inf"), 1.0, float("-inf"), 1.0, float("-inf")]]).expand(3, 5)
    uniform = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)[:, None]
    ids, _ = sample(logits, torch.ones(3, 1), uniform)
    assert ids.tolist() == [1, 3, 3]
