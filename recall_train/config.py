"""The one typed tree of settings. TOML files and dotted overrides are laid over the defaults, then checked."""

import difflib
import json
import tomllib
from collections.abc import Iterator
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recall_env.errors import RecallError

__all__ = [
    "PRESETS",
    "Config",
    "Data",
    "Engine",
    "Env",
    "Eval",
    "Learner",
    "Loss",
    "Model",
    "Rollout",
    "Run",
    "Section",
    "load_config",
    "to_toml",
]

PRESETS = Path(__file__).parent / "presets"  # the shipped TOML files
Beta = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """Frozen and strict: an unknown key, another type, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Model(Section):
    """The model that is trained."""

    path: str = "recall-tiny"  # the shipped model, a Hugging Face folder, or a hub name
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: a GPU when torch sees one
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the forward pass; the optimiser always holds fp32
    attention: Literal["auto", "flash", "varlen", "sdpa"] = "auto"  # auto: flash-attn, else PyTorch's varlen, else SDPA


class Data(Section):
    """Which tasks are played."""

    dataset: str = "syntool"  # a built-in set, a Parquet or JSONL file, or a folder of them
    split: str = "train"  # that is trained on
    eval_splits: tuple[str, ...] = ("test", "test_families")  # held out: played before, between and after
    families: tuple[str, ...] = ()  # train on these alone; empty: all
    max_calls: int = Field(8, ge=1)  # leave out tasks whose gold solution is longer; a task without one is kept
    curriculum_steps: int = Field(0, ge=0)  # steps over which max_calls grows from 2 to its value; 0: no curriculum


class Env(Section):
    """How they are played: arguments of `recall_env.env.SynToolEnv`."""

    dialect: Literal["hermes", "recall", "submit"] = "hermes"  # how calls, results and the answer are written
    rubric: str = "answer"  # a name in recall_env.rubric.RUBRICS, a .toml or .json file, or a contributed environment
    max_turns: int = Field(10, ge=1)  # assistant turns of an episode
    sandbox: Literal["nsjail", "unsafe"] = "nsjail"  # unsafe: tools run without a jail
    gate: bool = False  # refuse tasks whose source has findings (recall_env.gate)
    services: tuple[str, ...] = ()  # where tasks' services are, such as "search=http://127.0.0.1:8000"
    workers: int = Field(0, ge=0)  # threads for judges, services and the like; 0: up to one for each live episode


class Engine(Section):
    """What samples the turns."""

    kind: Literal["torch", "vllm"] = "torch"  # torch: small and slow, the reference; vllm: needs the extra of that name
    max_running: int = Field(128, ge=1)  # sequences decoded at once
    max_context: int = Field(1024, ge=16)  # tokens of one trajectory
    gpu_memory_utilization: float = Field(0.5, gt=0, le=1)  # vllm: the share of device memory it may hold while awake
    enforce_eager: bool = False  # vllm: no CUDA graphs; starts faster, decodes slower


class Rollout(Section):
    """What a step plays."""

    tasks_per_step: int = Field(16, ge=1)  # groups of a step, over all ranks
    group_size: int = Field(8, ge=2)  # trajectories of one task: G
    temperature: float = Field(1.0, gt=0)  # of the sampling; the learner divides its logits by it too
    max_turn_tokens: int = Field(128, ge=1)  # of one turn, its stop token included
    refill: bool = True  # replace groups without reward variance by fresh tasks (DAPO's dynamic sampling)
    max_refills: float = Field(1.0, ge=0)  # extra groups of a step, at most, as a multiple of tasks_per_step
    deterministic: bool = True  # engine steps wait for tools in flight: a seed gives the same weights, bit for bit
    max_infra_frac: float = Field(0.05, ge=0, le=1)  # infra failures past this share of a step or evaluation stop all


class Loss(Section):
    """What is minimised: see `recall_train.grpo`."""

    # The loss and its advantages: a name in `recall_train.grpo.LOSSES`, where the papers are named.
    kind: Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce++"] = "dapo"
    clip_low: float = Field(0.2, gt=0)  # the ratio is clipped below 1 - clip_low
    clip_high: float = Field(0.28, gt=0)  # and above 1 + clip_high
    kl_coef: float = Field(0.0, ge=0)  # k3 estimate against the starting weights
    is_cap: float = Field(2.0, gt=0)  # truncated importance sampling between engine and learner, per token
    mask_overlong: bool = True  # trajectories cut by a budget of tokens or turns carry no gradient


class Learner(Section):
    """How weights change: AdamW under DeepSpeed."""

    lr: float = Field(1e-6, gt=0)  # constant after the warm-up
    betas: tuple[Beta, Beta] = (0.9, 0.95)  # AdamW's decay of first and second moments
    weight_decay: float = Field(0.0, ge=0)  # decoupled: AdamW's
    warmup_updates: int = Field(0, ge=0)  # optimiser steps over which lr grows to its value
    max_grad_norm: float = Field(1.0, gt=0)  # L2 norm that the whole gradient is clipped to
    updates_per_step: int = Field(1, ge=1)  # optimiser steps on one batch of trajectories
    # What ranks share out (arXiv:1910.02054): 0 nothing, 2 the optimiser and gradients, 3 the weights too.
    zero_stage: Literal[0, 2, 3] = 0
    tokens_per_microbatch: int = Field(8192, ge=1)  # packed tokens of one forward and backward pass
    gradient_checkpointing: bool = False  # compute activations again in the backward pass: less memory, more time
    logprob_chunk: int = Field(2048, ge=1)  # tokens whose logits exist at one time


class Eval(Section):
    """Held-out success."""

    every: int = Field(10, ge=0)  # steps between evaluations; 0: only before and after
    n: int = Field(200, ge=1)  # episodes of each split
    temperature: float = Field(1.0, ge=0)  # 0: greedy


class Run(Section):
    """The run as a whole."""

    folder: Path = Path("runs/demo")  # of everything that is written; one that is there already is gone on with
    steps: int = Field(30, ge=1)  # rollout and learning, so many times
    seed: int = Field(0, ge=0)  # of tasks, worlds and sampling
    save_every: int = Field(10, ge=1)  # steps between checkpoints
    keep_checkpoints: int = Field(2, ge=1)  # the newest ones
    minutes: float = Field(0.0, ge=0)  # stop after the step that passes this much training time; 0: no limit
    wandb: Literal["off", "offline", "online"] = "off"  # offline: written into the folder, sent by `wandb sync`


class Config(Section):
    """The tree. `--section.field value` on the command line, `[section]` in a TOML file."""

    model: Model = Model()
    data: Data = Data()
    env: Env = Env()
    engine: Engine = Engine()
    rollout: Rollout = Rollout()
    loss: Loss = Loss()
    learner: Learner = Learner()
    eval: Eval = Eval()
    run: Run = Run()


def load_config(files: list[Path], overrides: list[str]) -> Config:
    """Defaults, then each TOML file in turn, then dotted overrides (`--learner.lr 3e-5`); checked before any work.

    Raises RecallError with one line: file or flag, key, what was expected, the nearest key.
    """
    tree: dict[str, Any] = {}
    for file in files:
        settings = _read_toml(file)
        _check_keys(settings, Config, "", f"{file}: ")
        _merge(tree, settings)
    for key, value in _pairs(overrides):
        _set(tree, key, value)
    _check_keys(tree, Config, "")
    try:
        config = Config.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as e:
        first = e.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RecallError(f"{key}: {first['msg'][:1].lower()}{first['msg'][1:]}, got {first['input']!r}") from e
    _check_pairs(config)
    return config


def to_toml(config: Config) -> str:
    """The whole tree as TOML that load_config reads back to the same value."""
    lines = []
    for name, section in config.model_dump(mode="json").items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in section.items()]
        lines.append("")
    return "\n".join(lines)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except FileNotFoundError as e:
        shipped = sorted(p.name for p in PRESETS.glob("*.toml"))
        raise RecallError(f"{file}: no such file; shipped presets in {PRESETS.name}/: {', '.join(shipped)}") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as e:
        raise RecallError(f"{file}: not a TOML file: {e}") from e


def _pairs(overrides: list[str]) -> Iterator[tuple[str, Any]]:
    words = iter(overrides)
    for word in words:
        key, joined, value = word.partition("=")
        if not key.startswith("--") or "." not in key:
            raise RecallError(f"{word}: expected an override like --learner.lr 3e-5")
        if not joined:
            value = next(words, None)
            if value is None:
                raise RecallError(f"{key}: a value is missing")
        yield key[2:], _toml_value(value)


def _toml_value(text: str) -> Any:
    """A TOML literal (3e-5, true, ["a"]) where it reads as one, else the text itself. A date stays text."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return text if isinstance(value, date | time) else value


def _merge(tree: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _set(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise RecallError(f"--{dotted}: {section} is a value, not a section")
    tree[key] = value


def _check_keys(tree: Any, model: type[BaseModel], at: str, where: str = "") -> None:
    if not isinstance(tree, dict):
        raise RecallError(
            f"{where}{at.rstrip('.')}: expected a section with {', '.join(model.model_fields)}, got {tree!r}"
        )
    for key, value in tree.items():
        if key not in model.model_fields:
            near = difflib.get_close_matches(key, model.model_fields, n=1, cutoff=0.4)
            hint = f"did you mean {at}{near[0]}?" if near else f"known here: {', '.join(model.model_fields)}"
            raise RecallError(f"{where}{at}{key}: no such setting; {hint}")
        if isinstance(kind := model.model_fields[key].annotation, type) and issubclass(kind, BaseModel):
            _check_keys(value, kind, f"{at}{key}.", where)


def _check_pairs(config: Config) -> None:
    """Settings that are fine alone and impossible together."""
    if config.rollout.max_turn_tokens >= config.engine.max_context:
        raise RecallError(
            f"rollout.max_turn_tokens ({config.rollout.max_turn_tokens}) must be below engine.max_context "
            f"({config.engine.max_context}): the prompt needs room too"
        )
    if config.model.dtype == "bfloat16" and config.learner.zero_stage == 0:
        raise RecallError(
            "model.dtype = bfloat16 needs learner.zero_stage 2 or 3, one GPU included: stage 0 keeps no fp32 weights"
        )
    if config.loss.kind == "gspo" and config.loss.clip_high > 0.05:
        raise RecallError(
            "loss.kind = gspo compares whole sequences, and its clip ranges are smaller: give it "
            "--loss.clip_low 3e-4 --loss.clip_high 4e-4"
        )
    if config.env.dialect == "submit" and config.env.rubric == "recall":
        raise RecallError(
            "env.rubric = recall pays for a box, which env.dialect = submit has none of; use another rubric"
        )
