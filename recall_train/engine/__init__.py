"""Engines: tokens in, tokens and log-probabilities out, under a numbered weight version. One protocol, in base.py."""

import os

from recall_env.errors import RecallError
from recall_train.config import Config
from recall_train.engine.base import Engine

__all__ = ["Engine", "make_engine"]


def make_engine(config: Config, model_path: str, stop_ids: frozenset[int]) -> Engine:
    """The configured engine over the model at `model_path`, a folder or a hub name; `stop_ids` end a turn.

    On a GPU it takes this rank's. Imports vllm, transformers and torch only when called. Raises RecallError for what
    a person can fix.
    """
    import torch

    limits = {"max_running": config.engine.max_running, "max_context": config.engine.max_context}
    on_gpu = config.model.device != "cpu" and torch.cuda.is_available()
    if config.engine.kind == "torch":
        from recall_train.engine.torch import TorchEngine

        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if on_gpu else "cpu"
        try:
            return TorchEngine(model_path, **limits, dtype=config.model.dtype, device=device, stop_ids=stop_ids)
        except (OSError, ValueError) as e:
            raise RecallError(f"model.path: {str(e).splitlines()[0]}") from e

    from recall_train.engine.vllm import VllmEngine

    if torch.cuda.is_available() and not on_gpu:
        raise RecallError('engine.kind = "vllm" decodes on the GPU where there is one; set model.device "cuda"')
    return VllmEngine(
        model_path,
        **limits,
        dtype=config.model.dtype,
        gpu_memory_utilization=config.engine.gpu_memory_utilization,
        enforce_eager=config.engine.enforce_eager,
        seed=config.run.seed,
        stop_ids=stop_ids,
    )
