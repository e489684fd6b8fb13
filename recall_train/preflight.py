"""Everything that can be refused before a model is loaded, and what a run will need. Used by train, plan, doctor.

torch and transformers take seconds to import, so `check` does without them where it can: most mistakes are answered
at once.
"""

import importlib.util
import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING

from recall_env.dialect import DIALECTS
from recall_env.env import SynToolEnv, check_playable
from recall_env.errors import RecallError
from recall_env.sandbox import diagnose, shared_pool
from recall_env.sandbox.broker import Broker, read_addresses
from recall_env.task import Task
from recall_env.taskset import TaskSet
from recall_train.config import Config
from recall_train.models import model_folder
from recall_train.tasks import check_held_out, eval_tasks, training_tasks

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from recall_train.tokens import ChatTokens

GIB = 2**30


def check(config: Config) -> None:
    """Raises RecallError, one line, for the first thing that would make the run fail later."""
    model_folder(config.model.path)
    try:
        SynToolEnv(dialect=config.env.dialect, rubric=config.env.rubric)
    except RecallError as e:
        raise RecallError(f"env.rubric: {e}") from e
    if config.engine.kind == "vllm" and importlib.util.find_spec("vllm") is None:
        raise RecallError("engine.kind = vllm, but vLLM is not installed: pip install -e '.[vllm]' (CPU: see README)")
    if config.run.wandb != "off" and importlib.util.find_spec("wandb") is None:
        raise RecallError(f"run.wandb = {config.run.wandb}, but wandb is not installed: pip install -e '.[train]'")
    services = Broker(read_addresses(config.env.services)).addresses
    for tasks in (training_tasks(config), *eval_tasks(config).values()):
        for task in tasks:  # a bad row raises TaskError, which names it
            check_playable(task, DIALECTS[config.env.dialect], gate=config.env.gate, services=services)
    check_held_out(config)
    if config.model.device == "cuda" and not on_gpu(config):
        raise RecallError(
            "model.device = cuda, but torch sees no GPU here; on a laptop use --model.device cpu, "
            "or the demo preset (python -m recall_train with no file)"
        )
    # Raises SandboxUnavailable where no jail can be had; the pool it starts is the one the run uses.
    shared_pool(config.env.sandbox).open("").close()


def on_gpu(config: Config) -> bool:
    import torch

    return config.model.device != "cpu" and torch.cuda.is_available()


def estimate(config: Config) -> Iterator[str]:
    """What one step holds and what it takes, in words. Counts are exact for weights; prompts are measured on tasks."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from recall_train.tokens import ChatTokens

    path = model_folder(config.model.path)
    try:
        shape = AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as e:
        raise RecallError(f"model.path: {config.model.path} cannot be read ({str(e).splitlines()[0]})") from e
    with torch.device("meta"):
        parameters = sum(p.numel() for p in AutoModelForCausalLM.from_config(shape).parameters())
    yield f"model: {config.model.path}, {parameters / 1e6:.1f} M parameters, forward in {config.model.dtype}"
    half = 2 if config.model.dtype == "bfloat16" else 4
    held = parameters * (half + 4 + (12 if half == 2 else 8))  # weights, fp32 gradient, Adam moments, fp32 masters
    logits = config.learner.logprob_chunk * shape.vocab_size * 4 * 2
    yield f"learner: {held / GIB:.2f} GiB for weights, gradients and Adam on one rank, {logits / GIB:.2f} GiB of logits"
    yield f"activations: about {_activations(shape, config) / GIB:.1f} GiB for a micro-batch"
    rollout = config.rollout
    episodes = rollout.tasks_per_step * rollout.group_size
    most = int(rollout.tasks_per_step * (1 + (rollout.max_refills if rollout.refill else 0))) * rollout.group_size
    shape_of_step = f"{rollout.tasks_per_step} tasks x {rollout.group_size}"
    yield f"step: {episodes} episodes ({shape_of_step}), at most {most} with refills"
    tokens, tasks = ChatTokens(path), TaskSet.load(config.data.dataset, config.data.split)
    lengths = sorted(_prompt_length(tokens, tasks[i], config) for i in range(0, len(tasks), max(1, len(tasks) // 50)))
    yield (
        f"prompts: {lengths[len(lengths) // 2]} tokens in the median, {lengths[-1]} at most "
        f"(of {len(lengths)} tasks looked at), in a context of {config.engine.max_context}"
    )
    if lengths[-1] + rollout.max_turn_tokens > config.engine.max_context:
        yield "warning: the longest prompts leave no room for a turn; raise engine.max_context"
    updates = config.run.steps * config.learner.updates_per_step
    yield f"run: {config.run.steps} steps, {updates} optimiser updates, up to {most * config.run.steps} episodes"


def _activations(shape: "PretrainedConfig", config: Config) -> float:
    """Bytes that a forward pass of a Qwen2- or Llama-like model keeps for the backward one.

    Counted with saved_tensors_hooks on a layer of Qwen2.5-0.5B in bfloat16: 59,200 bytes a token and layer, of 896
    wide states ten, of 4,864 wide ones in the MLP four, and the projections of attention.
    """
    head = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    heads = shape.num_attention_heads + 2 * (getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads)
    layer = 10 * shape.hidden_size + 4 * shape.intermediate_size + heads * head
    layers, size = shape.num_hidden_layers, 2 if config.model.dtype == "bfloat16" else 4
    kept = layers * shape.hidden_size + layer if config.learner.gradient_checkpointing else layers * layer
    return float(kept * size * config.learner.tokens_per_microbatch)


def _prompt_length(tokens: "ChatTokens", task: Task, config: Config) -> int:
    dialect = DIALECTS[config.env.dialect]
    return len(tokens.start(dialect.start(task), dialect.template_tools(task)))


def survey() -> Iterator[tuple[str, bool, str]]:
    """(what, fine, in words) for packages, devices and the jail."""
    import torch

    yield "python", True, platform.python_version()
    yield "torch", True, torch.__version__
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield "gpu", True, ", ".join(gpus) or "none: the CPU trains the tiny model; larger ones want a GPU"
    for package, why in (("deepspeed", "needed to train"), ("vllm", "only for engine.kind = vllm")):
        found = importlib.util.find_spec(package) is not None
        yield package, found or package == "vllm", f"{'installed' if found else 'not installed'} ({why})"
    for what, ok, text, fix in diagnose():
        yield f"sandbox {what}", ok, text if ok or not fix else f"{text}; {fix}"
