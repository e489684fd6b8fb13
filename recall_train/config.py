"""The one typed tree of settings. TOML files and dotted overrides are laid over the defaults, then checked."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Model(Section):
    path: str = "recall-tiny"  # the shipped model, a Hugging Face folder, or a hub name
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the forward pass; the optimiser always holds fp32
    attention: Literal["auto", "flash", "varlen", "sdpa"] = "auto"  # auto: flash-attn, else PyTorch's varlen, else SDPA


class Data(Section):
    dataset: str = "syntool"  # a built-in set, a Parquet or JSONL file, or a folder of them
    split: str = "train"
    eval_splits: tuple[str, ...] = ("test", "test_families")
    families: tuple[str, ...] = ()  # train on these alone; empty: all
    max_calls: int = Field(8, ge=1)  # leave out tasks whose gold solution needs more
    curriculum_steps: int = Field(0, ge=0)  # steps over which max_calls grows from 2 to its value; 0: no curriculum


class Env(Section):
    dialect: Literal["hermes", "recall"] = "hermes"
    rubric: str = "answer"  # a name in recall_env.rubric.RUBRICS; success is always the answer alone
    max_turns: int = Field(10, ge=1)
    sandbox: Literal["nsjail", "unsafe"] = "nsjail"
    workers: int = Field(4, ge=1)  # threads that step environments


class Engine(Section):
    kind: Literal["torch", "vllm"] = "torch"
    max_running: int = Field(128, ge=1)  # sequences decoded at once
    max_context: int = Field(1024, ge=16)  # tokens of one trajectory
    gpu_memory_utilization: float = Field(0.5, gt=0, le=1)  # vllm: the share of device memory it may hold while awake
    enforce_eager: bool = False  # vllm: no CUDA graphs; starts faster, decodes slower


class Rollout(Section):
    tasks_per_step: int = Field(16, ge=1)
    group_size: int = Field(8, ge=2)  # trajectories of one task: G
    temperature: float = Field(1.0, gt=0)
    max_turn_tokens: int = Field(128, ge=1)
    refill: bool = True  # replace groups without reward variance by fresh tasks (DAPO's dynamic sampling)
    max_refills: float = Field(1.0, ge=0)  # at most this many times tasks_per_step extra groups in a step
    deterministic: bool = True  # engine steps wait for tools in flight: the same seed gives the same weights, bit for bit
    max_infra_frac: float = Field(0.05, ge=0, le=1)  # infra failures in a step past this share stop the run


class Loss(Section):
    kind: Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce++"] = "dapo"
    clip_low: float = Field(0.2, gt=0)
    clip_high: float = Field(0.28, gt=0)
    kl_coef: float = Field(0.0, ge=0)  # k3 estimate against the starting weights
    is_cap: float = Field(2.0, gt=0)  # truncated importance sampling between engine and learner, per token
    mask_overlong: bool = True  # trajectories cut by a budget carry no gradient


class Learner(Section):
    lr: float = Field(1e-6, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(0.0, ge=0)
    warmup_steps: int = Field(0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    updates_per_step: int = Field(1, ge=1)  # optimiser steps on one batch of trajectories
    zero_stage: Literal[0, 2, 3] = 0
    tokens_per_microbatch: int = Field(8192, ge=1)  # packed tokens of one forward and backward pass
    gradient_checkpointing: bool = False
    logprob_chunk: int = Field(2048, ge=1)  # tokens whose logits exist at one time


class Eval(Section):
    every: int = Field(10, ge=0)  # steps between evaluations; 0: only before and after
    n: int = Field(200, ge=1)  # episodes of each split
    temperature: float = Field(1.0, ge=0)


class Run(Section):
    folder: Path = Path("runs/demo")
    steps: int = Field(30, ge=1)
    seed: int = Field(0, ge=0)
    save_every: int = Field(10, ge=1)
    keep_checkpoints: int = Field(2, ge=1)
    minutes: float = Field(0.0, ge=0)  # stop after the step that passes this much training time; 0: no limit
    wandb: Literal["off", "offline", "online"] = "off"


class Config(Section):
    model: Model = Model()
    data: Data = Data()
    env: Env = Env()
    engine: Engine = Engine()
    rollout: Rollout = Rollout()
    loss: Loss = Loss()
    learner: Learner = Learner()
    eval: Eval = Eval()
    run: Run = Run()
