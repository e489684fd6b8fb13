"""What the vLLM engine leaves alone: it lives in the learner's process. What it answers is in the contract suite."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from transformers import Qwen2Config, Qwen2ForCausalLM

from recall_train.engine.base import Request

pytestmark = pytest.mark.vllm


@pytest.fixture(scope="module")
def model_path(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("model")
    config = Qwen2Config(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
    )
    Qwen2ForCausalLM(config).save_pretrained(path)
    return str(path)


def make(path: str):
    from recall_train.engine.vllm import VllmEngine

    return VllmEngine(
        path,
        max_running=2,
        max_context=64,
        dtype="float32",
        gpu_memory_utilization=0.2,
        enforce_eager=True,
        seed=0,
        stop_ids=frozenset(),
    )


@pytest.fixture
def learners_group():
    """A process group that is there before the engine; an earlier test's learner may have left one for good."""
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    if ours:
        dist.destroy_process_group()


def test_the_learners_process_group_survives_the_engine(learners_group, model_path):
    engine = make(model_path)
    engine.submit(Request("x", (1, 2), 2, seed=0))
    engine.step()
    engine.close()
    total = torch.ones(1)
    dist.all_reduce(total)
    assert total.item() == 1


ALONE = """
import sys
import torch.distributed as dist
from recall_train.engine.vllm import VllmEngine

engine = VllmEngine(
    sys.argv[1], max_running=2, max_context=64, dtype="float32", gpu_memory_utilization=0.2, enforce_eager=True,
    seed=0, stop_ids=frozenset(),
)
assert dist.is_initialized(), "the engine runs without a process group"
engine.close()
assert not dist.is_initialized(), "the engine left its process group behind"
"""


def test_an_engine_that_started_the_process_group_ends_it(model_path):
    # In a process of its own: here a learner of another test may have started the group, which it keeps for good.
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", ALONE, model_path], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_thread_count_is_left_alone_and_can_still_be_set(model_path):
    before = torch.get_num_threads()
    engine = make(model_path)
    assert torch.get_num_threads() == before
    torch.set_num_threads(before + 1)
    assert torch.get_num_threads() == before + 1
    torch.set_num_threads(before)
    engine.close()


def test_ranks_without_a_process_group_are_told_to_start_it(monkeypatch, model_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="before the vLLM engine"):
        make(model_path)
