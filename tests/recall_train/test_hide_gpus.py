"""model.device = cpu, on a machine with a GPU."""

import os

import pytest

from recall_train.commands import hide_gpus
from recall_train.config import load_config


@pytest.mark.parametrize(
    ("device", "kind", "visible"), [("cpu", "torch", ""), ("auto", "torch", "0,1"), ("cpu", "vllm", "0,1")]
)
def test_gpus_are_hidden_only_where_the_cpu_is_asked_for(monkeypatch, device, kind, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    hide_gpus(load_config([], ["--model.device", device, "--engine.kind", kind]))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible
