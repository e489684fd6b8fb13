"""Metrics of one optimiser step while they are still sums. Not here: their log file (metrics.py)."""

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor


class StepSums:
    """Metrics of one step as sums, so that micro-batches and ranks can be added up in any order."""

    def __init__(self, device: torch.device):
        self.device = device
        self.sums: dict[str, Tensor | float] = {}
        self.mismatch_max = torch.zeros((), dtype=torch.float64, device=device)
        self.norms: list[float] = []  # of the updates made; the same on every rank, as is lr
        self.refused = 0
        self.lr = 0.0

    def add(self, sums: dict[str, Tensor | float]) -> None:
        for name, value in sums.items():
            if name == "mismatch_kl/max":
                self.mismatch_max = torch.maximum(self.mismatch_max, value)
            else:
                self.sums[name] = self.sums.get(name, 0.0) + value

    def count_tokens(self, tokens: int, padding: int) -> None:
        self.add({"batch/tokens": float(tokens - padding), "padding": float(padding), "microbatches": 1.0})

    def update(self, loss: Tensor, norm: float, lr: float) -> None:
        """norm: NaN when the update was refused. Only the losses of updates made are kept."""
        self.lr = lr
        if np.isnan(norm):
            self.refused += 1
        else:
            self.norms.append(norm)
            self.add({"loss": loss})

    def over_ranks(self) -> dict[str, float]:
        """Collective. Means over trained tokens; of loss and norm over updates. What has no value is left out: a mean
        over nothing, and what a refused update made infinite or NaN."""
        names = sorted(self.sums)
        sums = (
            torch.stack([torch.as_tensor(self.sums[n], dtype=torch.float64, device=self.device) for n in names])
            if names
            else torch.zeros(0, dtype=torch.float64, device=self.device)
        )
        dist.all_reduce(sums)
        dist.all_reduce(self.mismatch_max, dist.ReduceOp.MAX)
        total = dict(zip(names, sums.tolist(), strict=True))
        tokens = total.pop("tokens", 0.0)
        real, padding = total.pop("batch/tokens", 0.0), total.pop("padding", 0.0)
        values = {
            "batch/tokens": real,
            "batch/trained_tokens": tokens,
            "batch/pad_frac": padding / max(1.0, real + padding),
            "batch/microbatches": total.pop("microbatches", 0.0),
            "optim/updates": len(self.norms),
            "optim/refused": self.refused,
        }
        if self.norms:
            values["loss"] = total.pop("loss") / len(self.norms)
            values["optim/grad_norm"] = float(np.mean(self.norms))
            values["optim/lr"] = self.lr
        if tokens:
            values |= {name: value / tokens for name, value in total.items()}
            values["mismatch_kl/max"] = self.mismatch_max.item()
        return {name: value for name, value in values.items() if np.isfinite(value)}
