"""What every engine promises, asked of each in turn. The plain Hugging Face forward pass is the truth."""

import gc
from collections import Counter

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from recall_train.engine.base import Request

VOCAB, MAX_RUNNING, MAX_CONTEXT = 512, 80, 128  # 80 full prompts are more than an engine takes in one pass
STOP = 7
ROUNDING = 2e-2 if torch.cuda.is_available() else 1e-4  # nats; on CUDA vLLM multiplies fp32 matrices as TF32: 6e-3 seen
PROMPT = tuple(range(20, 60))


def make_torch_engine(path: str):
    from recall_train.engine.torch import TorchEngine

    return TorchEngine(
        path,
        max_running=MAX_RUNNING,
        max_context=MAX_CONTEXT,
        dtype="float32",
        device="cpu",
        stop_ids=frozenset({STOP}),
    )


def make_vllm_engine(path: str):
    from recall_train.engine.vllm import VllmEngine

    return VllmEngine(
        path,
        max_running=MAX_RUNNING,
        max_context=MAX_CONTEXT,
        dtype="float32",
        gpu_memory_utilization=0.3,
        enforce_eager=True,
        seed=0,
        stop_ids=frozenset({STOP}),
    )


MAKERS = {"torch": make_torch_engine, "vllm": make_vllm_engine}
ENGINES = ["torch", pytest.param("vllm", marks=pytest.mark.vllm)]


@pytest.fixture(scope="session")
def model_path(tmp_path_factory) -> str:
    """A random Qwen2, its matrices large enough that tokens differ in probability by far more than rounding."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=MAX_CONTEXT,
        tie_word_embeddings=True,
        initializer_range=0.15,
        bos_token_id=None,
        pad_token_id=None,
        eos_token_id=STOP,
    )
    path = tmp_path_factory.mktemp("model")
    Qwen2ForCausalLM(config).save_pretrained(path)
    return str(path)


@pytest.fixture(scope="session")
def reference(model_path):
    return AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def bytes_before(reference) -> int:
    return living_bytes()


@pytest.fixture(scope="module", params=ENGINES)
def shared_engine(request, model_path, bytes_before):
    engine = MAKERS[request.param](model_path)
    yield engine
    engine.close()


@pytest.fixture
def engine(shared_engine, reference):
    """The weights of `reference`, version 0, and no cached prefix: as good as a fresh engine."""
    load(shared_engine, reference, 0)
    return shared_engine


def living_bytes() -> int:
    """Of all tensors that Python can still reach."""
    gc.unfreeze()  # vllm hides what it made from the collector
    gc.collect()
    tensors = [o for o in gc.get_objects() if issubclass(type(o), torch.Tensor) and not issubclass(type(o), FakeTensor)]
    storages = [tensor.untyped_storage() for tensor in tensors if tensor.device.type != "meta"]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def load(engine, model, version: int) -> None:
    engine.load_weights(model.state_dict().items(), version)


def ask(name: str, prompt=PROMPT, *, max_tokens=24, seed=0, temperature=1.0, session="") -> Request:
    return Request(name, tuple(prompt), max_tokens, seed, temperature, session)


def play(engine, *requests: Request) -> dict:
    for request in requests:
        engine.submit(request)
    done = {}
    while engine.inflight:
        done |= {generation.id: generation for generation in engine.step()}
    return done


def logprobs_of(model, prompt, ids, temperature=1.0) -> torch.Tensor:
    """Log-probabilities (len(ids), V) of a plain forward pass over prompt and ids."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits.double() / temperature, -1)


def of_tokens(logprobs: torch.Tensor, ids) -> torch.Tensor:
    return logprobs.gather(1, torch.tensor(ids)[:, None])[:, 0]


def test_greedy_tokens_are_those_of_hugging_face_generate(engine, reference):
    prompts = [PROMPT, PROMPT[:11], PROMPT[5:33]]
    got = play(engine, *(ask(str(i), p, max_tokens=16, temperature=0.0) for i, p in enumerate(prompts)))
    for i, prompt in enumerate(prompts):
        want = reference.generate(torch.tensor([prompt]), max_new_tokens=16, do_sample=False, pad_token_id=0)
        assert got[str(i)].ids == tuple(want[0, len(prompt) :].tolist())


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_logprobs_are_those_of_a_plain_forward_pass(engine, reference, temperature):
    requests = [ask(str(i), PROMPT[i:], seed=i, temperature=temperature) for i in range(8)]
    done = play(engine, *requests)
    for request in requests:
        got = done[request.id]
        want = of_tokens(logprobs_of(reference, request.prompt_ids, got.ids, temperature or 1.0), got.ids)
        assert got.logprobs == pytest.approx(want.tolist(), abs=ROUNDING)


def test_engine_and_learner_disagree_by_less_than_a_thousandth_of_a_nat(engine, reference):
    requests = [ask(str(i), PROMPT, seed=i, max_tokens=80) for i in range(32)]
    done = play(engine, *requests)
    ratios = []
    for got in done.values():
        ratios.append(of_tokens(logprobs_of(reference, PROMPT, got.ids), got.ids) - torch.tensor(got.logprobs))
    ratio = torch.cat(ratios)
    assert len(ratio) > 300
    assert (ratio.exp() - 1 - ratio).mean() < 1e-3  # the k3 estimate of KL(engine, forward pass)


def test_a_seed_gives_the_same_tokens_whatever_else_is_in_flight(engine, reference):
    alone = play(engine, ask("x", seed=5))["x"]
    load(engine, reference, 0)
    others = [ask(str(i), PROMPT[i % 20 :], seed=100 + i, max_tokens=5 + i % 32) for i in range(2 * MAX_RUNNING)]
    among = play(engine, *others[:20], ask("x", seed=5), *others[20:])
    assert among["x"].ids == alone.ids
    assert len(among) == 2 * MAX_RUNNING + 1
    assert alone.ids != play(engine, ask("x", seed=6))["x"].ids


def test_more_prompts_than_one_pass_takes_are_all_served(engine, reference):
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(VOCAB, (MAX_RUNNING + 20, 120), generator=generator).tolist()
    done = play(engine, *(ask(str(i), prompt, max_tokens=3, seed=i) for i, prompt in enumerate(prompts)))
    for i, prompt in enumerate(prompts):
        got = done[str(i)]
        assert got.logprobs == pytest.approx(
            of_tokens(logprobs_of(reference, prompt, got.ids), got.ids).tolist(), abs=ROUNDING
        )


def test_the_stop_token_is_the_last_id_and_counts(engine):
    done = play(engine, *(ask(str(i), seed=i, max_tokens=80) for i in range(64))).values()
    stopped = [g for g in done if g.finish == "stop"]
    assert len(stopped) > 3
    assert all(g.ids[-1] == STOP and STOP not in g.ids[:-1] for g in stopped)
    assert all(len(g.ids) == len(g.logprobs) for g in done)
    assert all(len(g.ids) == 80 and STOP not in g.ids for g in done if g.finish == "length")


def test_max_tokens_ends_a_turn_with_length(engine):
    done = play(engine, ask("one", max_tokens=1, temperature=0.0), ask("ten", max_tokens=10, temperature=0.0))
    assert {name: (len(g.ids), g.finish) for name, g in done.items()} == {"one": (1, "length"), "ten": (10, "length")}


def test_a_second_turn_from_the_kept_prefix_equals_one_from_scratch(engine, reference):
    first = [ask(str(i), PROMPT[i:], seed=i, session=f"s{i}", max_tokens=12) for i in range(6)]
    turns = play(engine, *first)
    second = [
        ask(r.id, (*r.prompt_ids, *turns[r.id].ids, 33, 34, 35), seed=50, session=r.session, max_tokens=12)
        for r in first
    ]
    kept = play(engine, *second)
    load(engine, reference, 0)
    scratch = play(engine, *second)
    for name, g in kept.items():
        assert g.ids == scratch[name].ids
        assert g.logprobs == pytest.approx(scratch[name].logprobs, abs=ROUNDING)


def test_new_weights_change_tokens_and_version_and_drop_cached_prefixes(engine, model_path, reference):
    before = play(engine, ask("x", temperature=0.0, session="s"))["x"]
    other = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in other.parameters():
            p += 0.05 * torch.randn(p.shape, generator=generator)
    load(engine, other, 3)
    assert engine.version == 3
    after = play(engine, ask("x", temperature=0.0, session="s"))["x"]
    assert (before.version, after.version) == (0, 3)
    want = of_tokens(logprobs_of(other, PROMPT, after.ids), after.ids)
    assert after.logprobs == pytest.approx(want.tolist(), abs=ROUNDING)
    assert after.ids != before.ids


def test_sampled_frequencies_are_the_models_probabilities(engine, reference):
    n, temperature = 2000, 0.8
    done = play(engine, *(ask(str(i), seed=i, max_tokens=1, temperature=temperature) for i in range(n)))
    counts = Counter(g.ids[0] for g in done.values())
    p = logprobs_of(reference, PROMPT, (0,), temperature)[0].exp()
    likely = [i for i in p.argsort(descending=True).tolist() if n * p[i] >= 5][:30]
    expected = torch.tensor([n * p[i] for i in likely] + [n * (1 - sum(p[i] for i in likely))])
    observed = torch.tensor([float(counts[i]) for i in likely])
    observed = torch.cat([observed, (n - observed.sum())[None]])
    chi_square = ((observed - expected) ** 2 / expected).sum()
    degrees = len(likely)
    assert degrees >= 5
    assert chi_square < degrees + 4 * (2 * degrees) ** 0.5  # four standard deviations above the mean


def test_a_sleeping_engine_refuses_requests_until_weights_wake_it(engine, reference):
    before = play(engine, ask("x", seed=1))["x"]
    engine.sleep()
    with pytest.raises(RuntimeError, match="sleeps"):
        engine.submit(ask("x"))
    load(engine, reference, 4)
    after = play(engine, ask("x", seed=1))["x"]
    assert (after.ids, after.version) == (before.ids, 4)


def test_weights_and_sleep_wait_for_requests_in_flight(engine, reference):
    engine.submit(ask("x", max_tokens=2, temperature=0.0))
    assert engine.inflight == 1
    with pytest.raises(RuntimeError, match="in flight"):
        load(engine, reference, 1)
    with pytest.raises(RuntimeError, match="in flight"):
        engine.sleep()
    play(engine)
    assert engine.inflight == 0
    assert engine.step() == []


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (ask("x", range(100), max_tokens=29), "100 prompt tokens and 29 to sample exceed max_context 128"),
        (ask("x", ()), "the prompt is empty"),
        (ask("x", (1, VOCAB)), "outside the vocabulary of 512"),
        (ask("x", max_tokens=0), "at least 1"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused(engine, request_, words):
    with pytest.raises(ValueError, match=words):
        engine.submit(request_)
    assert engine.inflight == 0


def test_an_id_in_flight_cannot_be_submitted_twice(engine):
    engine.submit(ask("x", max_tokens=1))
    with pytest.raises(ValueError, match="in flight"):
        engine.submit(ask("x", max_tokens=1))
    assert set(play(engine)) == {"x"}
    assert set(play(engine, ask("x", max_tokens=1))) == {"x"}


def test_weights_that_are_not_the_models_are_refused(engine, reference):
    good = dict(reference.state_dict())
    name = "model.layers.1.mlp.up_proj.weight"
    for bad, words in [
        ({**good, "model.layers.9.x": torch.zeros(1)}, "no tensor model.layers.9.x"),
        ({**good, name: torch.zeros(3, 4)}, r"up_proj.weight is \(3, 4\), the model's is \(256, 128\)"),
        ({k: v for k, v in good.items() if k != name}, "lack 1 of the model's tensors, model.layers.1.mlp.up_proj"),
    ]:
        with pytest.raises(ValueError, match=words):
            engine.load_weights(bad.items(), 1)
    del good["lm_head.weight"]  # tied: the embedding says it all
    engine.load_weights(good.items(), 2)
    assert play(engine, ask("x"))["x"].version == 2


def test_a_closed_engine_frees_its_memory_and_refuses_requests(shared_engine, bytes_before):
    """The last in this file: it ends the shared engine, since vLLM allows one at a time on a GPU."""
    assert living_bytes() > bytes_before + 4_000_000
    shared_engine.close()
    assert living_bytes() < bytes_before + 500_000  # the weights alone are 1.4 MB; vllm keeps small tables
    with pytest.raises(RuntimeError, match="closed"):
        shared_engine.submit(ask("x"))
