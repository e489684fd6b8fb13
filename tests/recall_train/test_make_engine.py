"""From a configuration to an engine, and the one line that says why not."""

import sys

import pytest
from transformers import Qwen2Config, Qwen2ForCausalLM

from recall_env.errors import RecallError
from recall_train.config import Config
from recall_train.engine import make_engine
from recall_train.engine.base import Request

SIZE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
}


def config(kind: str = "torch") -> Config:
    return Config.model_validate(
        {"engine": {"kind": kind, "max_running": 2, "max_context": 64}, "model": {"device": "cpu"}}
    )


def test_the_configured_engine_has_the_configured_limits(tmp_path):
    Qwen2ForCausalLM(Qwen2Config(**SIZE)).save_pretrained(tmp_path)
    engine = make_engine(config(), str(tmp_path), frozenset(range(64)))
    assert engine.max_context == 64
    engine.submit(Request("x", (1, 2, 3), 5, seed=0))
    (generation,) = engine.step()
    assert generation.finish == "stop"  # every id of the vocabulary stops
    engine.close()


def test_a_model_the_engine_cannot_run_is_one_line(tmp_path):
    shape = Qwen2Config(**SIZE, use_sliding_window=True, sliding_window=8, max_window_layers=1)
    Qwen2ForCausalLM(shape).save_pretrained(tmp_path)
    with pytest.raises(RecallError, match=r"model\.path: .*full attention only") as e:
        make_engine(config(), str(tmp_path), frozenset())
    assert "\n" not in str(e.value)


def test_a_missing_vllm_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)  # as if it were not installed
    with pytest.raises(RecallError, match=r"needs vLLM: pip install -e '.\[vllm\]'") as e:
        make_engine(config("vllm"), "anywhere", frozenset())
    assert "\n" not in str(e.value)
