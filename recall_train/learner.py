"""Learner: owns weights and optimiser. Samples in, an optimiser step and metrics out. The only file with DeepSpeed.

One object per rank; alone without a launcher. Calls marked *collective* must be made on every rank, in the same order.
The gradient is the sum over the trained tokens of all ranks, divided once by one global denominator: DeepSpeed's own
divisions, by accumulation steps and by ranks, are undone here. Not here: advantages (grpo.py), rollouts (trainer.py).
"""

import atexit
import gc
import json
import os
import resource
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed reads it when imported; without it, it may guess wrong
import deepspeed
from transformers import PreTrainedModel

from recall_env.errors import RecallError
from recall_train import config, grpo
from recall_train.batch import Microbatch, Sample, pack
from recall_train.flops import PEAK_BF16, decoder_elements, training_flops
from recall_train.model import Policy, copy_tokenizer, load_model, to_device
from recall_train.sums import StepSums

__all__ = ["Learner", "start_process_group"]

deepspeed.utils.logger.setLevel("ERROR")
warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")  # DeepSpeed calls old names
warnings.filterwarnings("ignore", message="`gradient_checkpointing_enable`")  # the new name is not in transformers 5.16
BUCKET_ELEMENTS = 128 * 2**20  # parameters gathered at one time under ZeRO-3, and reduced at one time
CHECKPOINT_TAG = "state"
COUNTERS_FILE = "learner.json"


class Learner:
    """A policy under training, as one rank has it. Each rank is given samples of its own, and may be given none;
    gradient and metrics are those of all together."""

    def __init__(
        self, model_path: str, model: config.Model, learner: config.Learner, loss: config.Loss, *,
        seed: int, temperature: float,
    ):  # fmt: skip
        """Collective. model_path: a folder or hub name; model.path is not read. seed: orders the mini-batches of
        updates_per_step. temperature: the rollout's, which divides the logits here too.

        Raises RecallError for a model that cannot be loaded.
        """
        self.settings, self.loss, self.seed = learner, loss, seed
        self.model_path = model_path
        start_process_group()
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.device = _device()
        self.steps = 0  # calls of step()
        self.updates = 0  # optimiser steps taken
        lm = load_model(model_path, model.dtype, model.attention, self.device)
        self._elements = decoder_elements(lm)
        half_on_gpu = self.device.type == "cuda" and model.dtype == "bfloat16"
        self._peak_flops = PEAK_BF16.get(torch.cuda.get_device_name(self.device)) if half_on_gpu else None
        if learner.gradient_checkpointing:
            lm.gradient_checkpointing_enable({"use_reentrant": False})
        self._reference = self._load_reference(model, temperature) if loss.kl_coef > 0 else None
        policy = Policy(lm, temperature=temperature, logprob_chunk=learner.logprob_chunk).train()
        self.engine = self._start_engine(policy, model.dtype)

    @property
    def lm(self) -> PreTrainedModel:
        """The language model. Under ZeRO-3 its tensors are cut over the ranks: read them with named_weights."""
        return self.engine.module.lm

    def _load_reference(self, model: config.Model, temperature: float) -> Policy:
        """The starting weights, whole on every rank: what kl_coef holds the policy to."""
        lm = load_model(self.model_path, model.dtype, model.attention, self.device).to(self.device)
        policy = Policy(lm, temperature=temperature, logprob_chunk=self.settings.logprob_chunk)
        return policy.requires_grad_(False).eval()

    def _start_engine(self, policy: Policy, dtype: str) -> deepspeed.DeepSpeedEngine:
        settings = self.settings
        policy.to(self.device)
        # torch's fused AdamW is compiled into torch; DeepSpeed's own would be compiled here, and needs nvcc.
        optimizer = torch.optim.AdamW(
            policy.parameters(), lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
        )
        if settings.zero_stage == 3:
            # The head's matrix is used by name and not through its module: gathered with Policy's own parameters.
            deepspeed.zero.register_external_parameter(policy, policy.head_weight)
        bucket = min(BUCKET_ELEMENTS, sum(p.numel() for p in policy.parameters()))
        options = {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,  # the boundary is set by hand
            "gradient_clipping": settings.max_grad_norm,
            "zero_optimization": {"stage": settings.zero_stage, "reduce_bucket_size": bucket},
            "zero_allow_untested_optimizer": True,
            "bf16": {"enabled": dtype == "bfloat16"},
            "data_types": {"grad_accum_dtype": "fp32"},
            "communication_data_type": "fp32",
            "steps_per_print": None,
        }
        return deepspeed.initialize(model=policy, optimizer=optimizer, config=options)[0]

    # --- learning ---------------------------------------------------------------------------------------------------

    def step(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Collective. Learn from this rank's samples; returns metrics over all ranks, by their metrics.jsonl names.

        A sample without a trained token is left out. With updates_per_step = K > 1 the samples are dealt into K
        mini-batches, one optimiser step each, and the ratio's old log-probabilities are those before the first.
        An update whose loss or gradient norm is not finite is refused: weights and moments stay, optim/refused
        counts it. An update without trained tokens on any rank is not made.
        """
        samples = [sample for sample in samples if sample.sampled.any()]
        sums = StepSums(self.device)
        updates = self.settings.updates_per_step
        old = self.logprobs(samples) if updates > 1 else None
        order = np.random.default_rng([self.seed, self.steps]).permutation(len(samples)) if updates > 1 else None
        for part in range(updates):
            chosen = range(len(samples)) if order is None else sorted(order[part::updates])
            self._update([samples[i] for i in chosen], None if old is None else [old[i] for i in chosen], sums)
        self.steps += 1
        return sums.over_ranks()

    def cost(self, samples: Sequence[Sample], seconds: float) -> dict[str, float]:
        """Collective. What a step over this rank's samples took, given its wall clock, by metrics.jsonl names.

        perf/peak_gib, of the rank with most: on CPU, memory of the process at its highest since the start. On a GPU,
        what the driver counts as in use now: PyTorch keeps what the step needed at its highest, and an engine that
        sleeps is not in it, as it would be in torch.cuda.max_memory_allocated().
        perf/mfu: model FLOPs utilisation; absent for a device whose peak is not in flops.PEAK_BF16.
        """
        if self.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.device)
            peak_gib = (total - free) / 2**30
        else:
            peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts it in KiB
        values = {"perf/peak_gib": self._all_reduce(peak_gib, dist.ReduceOp.MAX)}
        if self._peak_flops is not None:
            lengths, trained = [len(s.ids) for s in samples], [int(s.sampled.sum()) for s in samples]
            flops = training_flops(self.lm.config, self._elements, lengths, trained)
            flops = self._all_reduce(flops, dist.ReduceOp.SUM)
            values["perf/mfu"] = flops / (seconds * self.world * self._peak_flops)
        return values

    def _update(self, samples: list[Sample], old: list[np.ndarray] | None, sums: StepSums) -> None:
        """One optimiser step over the samples of all ranks."""
        lengths = np.array([sample.sampled.sum() for sample in samples], dtype=np.int64)
        weights, denominator = grpo.token_weights(self.loss.kind, lengths)
        denominator = self._all_reduce(denominator, dist.ReduceOp.SUM)
        if denominator == 0:
            return
        lr = self.settings.lr * min(1.0, (self.updates + 1) / (self.settings.warmup_updates + 1))
        for group in self.engine.optimizer.param_groups:
            group["lr"] = lr
        micros = self._microbatches(samples, weights)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for number, micro in enumerate(micros):
            last = number == len(micros) - 1
            value = self._micro_loss(micro, old, sums) / denominator
            total += value.detach().double()
            if last and not self._all_reduce(float(torch.isfinite(total)), dist.ReduceOp.MIN):
                value = value * torch.nan  # poisons the gradient, which every ZeRO stage then throws away
            self.engine.set_gradient_accumulation_boundary(last)
            self.engine.backward(value * self.world, scale_wrt_gas=False)  # DeepSpeed averages over ranks; we sum
        norm = self._finish()
        sums.update(total, norm, lr)

    def _micro_loss(self, micro: Microbatch, old: list[np.ndarray] | None, sums: StepSums) -> Tensor:
        """Forward one micro-batch; the loss, summed and weighted but not divided."""
        packed = to_device(micro, self.device)
        logp, entropy = self.engine(packed)
        trained = micro.sampled.nonzero()[0]

        def put(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

        dummy = len(micro.samples) == 0
        old_logp = logp.detach() if old is None or dummy else put(np.concatenate([old[i] for i in micro.samples]))
        with torch.no_grad():
            ref_logp = None if self._reference is None else self._reference(packed)[0]
        tokens = grpo.Tokens(
            logp, old_logp, put(micro.logprobs[trained]), put(micro.advantage[trained]), put(micro.weight[trained]),
            torch.full_like(logp, not dummy, dtype=torch.bool), put(micro.sequence[trained]), ref_logp,
        )  # fmt: skip
        sums.add(grpo.loss_sums(tokens, entropy, self.loss))
        sums.count_tokens(len(micro.ids), padding=len(micro.ids) if dummy else 0)
        return grpo.total_loss(tokens, self.loss)

    def _finish(self) -> float:
        """Take the optimiser step, unless the gradient is not finite; its norm before clipping, or NaN if refused."""
        if self.settings.zero_stage == 0:
            gradients = [p.grad for p in self.engine.module.parameters() if p.grad is not None]
            norm = float(torch.nn.utils.get_total_norm(gradients))
            if not np.isfinite(norm):
                self.engine.zero_grad()
                return float("nan")
            self.engine.step()
        else:  # ZeRO finds the norm while it steps, and drops a gradient that is not finite
            self.engine.step()
            if not self.engine.was_step_applied():
                return float("nan")
            norm = float(self.engine.get_global_grad_norm())
        self.updates += 1
        return norm

    def logprobs(self, samples: Sequence[Sample]) -> list[np.ndarray]:
        """Collective. The natural log-probabilities of each sample's trained tokens under the weights of now.

        Returns one float32 array a sample, of as many entries as it has trained tokens.
        """
        out: list[np.ndarray] = [np.zeros(0, np.float32)] * len(samples)
        for micro in self._microbatches(samples, None):
            with torch.no_grad():
                logp = self.engine(to_device(micro, self.device))[0].float().cpu().numpy()
            owners = micro.sequence[micro.sampled]
            for s, index in enumerate(micro.samples):
                out[index] = logp[owners == s]
        return out

    def _microbatches(self, samples: Sequence[Sample], weights: np.ndarray | None) -> list[Microbatch]:
        """Packed samples, padded with dummies to the same number on every rank: ZeRO communicates in each of them."""
        micros = pack(samples, self.settings.tokens_per_microbatch, weights)
        most = int(self._all_reduce(len(micros), dist.ReduceOp.MAX))
        return micros + [_dummy()] * (most - len(micros))

    def _all_reduce(self, value: float, op: dist.ReduceOp.RedOpType) -> float:
        tensor = torch.tensor(float(value), dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, op)
        return tensor.item()

    # --- weights and files ------------------------------------------------------------------------------------------

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Collective: exhaust it on every rank. Hugging Face names and whole tensors on the learner's device.

        A tensor may be used until the next one is asked for; copy it to keep it. Tied weights come once.
        """
        named = [(name, p) for name, p in self.lm.named_parameters()]
        if self.settings.zero_stage < 3:
            for name, parameter in named:
                yield name, parameter.detach()
            return
        for bucket in _buckets(named, BUCKET_ELEMENTS):
            with deepspeed.zero.GatheredParameters([p for _, p in bucket]):
                for name, parameter in bucket:
                    yield name, parameter.detach()

    def save_hf(self, folder: str | Path) -> None:
        """Collective. Write a Hugging Face folder: safetensors, config, and the tokenizer's files as they were."""
        keep = self.rank == 0
        weights = {name: tensor.cpu().clone() for name, tensor in self.named_weights() if keep}
        if keep:
            self.lm.save_pretrained(folder, state_dict=weights)
            copy_tokenizer(self.model_path, Path(folder))
        dist.barrier()

    def save_checkpoint(self, folder: str | Path) -> None:
        """Collective. Write all that load_checkpoint needs: weights, fp32 masters, moments, counters."""
        self.engine.save_checkpoint(str(folder), tag=CHECKPOINT_TAG, save_latest=False)
        if self.rank == 0:
            counters = self._layout() | {"steps": self.steps, "updates": self.updates}
            (Path(folder) / COUNTERS_FILE).write_text(json.dumps(counters))
        dist.barrier()

    def load_checkpoint(self, folder: str | Path) -> None:
        """Collective. Go on as the learner that wrote it would have, on CPU bit for bit.

        Raises RecallError when there is none, or it was written by another number of ranks or ZeRO stage.
        """
        file = Path(folder) / COUNTERS_FILE
        if not file.is_file():
            raise RecallError(f"{folder}: not a learner's checkpoint; it has no {COUNTERS_FILE}")
        counters = json.loads(file.read_text())
        for name, here in self._layout().items():
            if counters[name] != here:
                raise RecallError(f"{folder}: written with {name} = {counters[name]}, this run has {here}")
        self.engine.load_checkpoint(str(folder), tag=CHECKPOINT_TAG)
        self.steps, self.updates = counters["steps"], counters["updates"]

    def _layout(self) -> dict[str, int]:
        """What the files of a checkpoint are cut by."""
        return {"ranks": self.world, "zero_stage": self.settings.zero_stage}

    def close(self) -> None:
        """Free the engine; no call may follow. The process group lives as long as the process."""
        self.engine.destroy()
        del self.engine


def start_process_group() -> None:
    """Join the launcher's ranks, or be the only one. For the life of the process: DeepSpeed caches its groups."""
    if deepspeed.comm.is_initialized():
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    alone = "RANK" not in os.environ  # no launcher
    os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed insists; the other variables would mislead child processes
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if alone and not dist.is_initialized():
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    # DeepSpeed would compile an op for CPU inference here, and fail where there is no compiler; nothing uses it.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(backend, auto_mpi_discovery=False, verbose=False)
    atexit.register(_leave_process_group)


def _leave_process_group() -> None:
    """A gloo group that outlives the interpreter aborts the process (its threads are never joined)."""
    deepspeed.comm.destroy_process_group()
    gc.collect()  # engines hold their groups in cycles


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def _dummy() -> Microbatch:
    """Two tokens through the whole model, of which none counts: micro.samples is empty."""
    zeros = np.zeros(2, np.float32)
    return Microbatch(
        ids=np.zeros(2, np.int64), position_ids=np.arange(2), cu_seqlens=np.array([0, 2], np.int32), max_seqlen=2,
        sampled=np.array([False, True]), logprobs=zeros, advantage=zeros, weight=zeros,
        sequence=np.zeros(2, np.int64), samples=np.zeros(0, np.int64),
    )  # fmt: skip


def _buckets(named: list[tuple[str, torch.nn.Parameter]], most: int) -> Iterator[list[tuple[str, torch.nn.Parameter]]]:
    """Runs of parameters of at most `most` elements, or one larger. Under ZeRO-3 numel() is 0; ds_numel is the size."""
    bucket: list[tuple[str, torch.nn.Parameter]] = []
    size = 0
    for name, parameter in named:
        if bucket and size + parameter.ds_numel > most:
            yield bucket
            bucket, size = [], 0
        bucket.append((name, parameter))
        size += parameter.ds_numel
    if bucket:
        yield bucket
