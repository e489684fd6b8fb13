"""One rank of tests/contract/test_learner.py: `python learner_rank.py MODEL OUT`, under the launcher's variables.

Runs every ZeRO stage on this rank's share of the samples and leaves what came out in OUT/RANK.pt.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from tiny_model import captured_gradients, make_learner, make_samples, weights_of

model, out = sys.argv[1], Path(sys.argv[2])
results = {}
for stage in (0, 2, 3):
    learner = make_learner(model, zero_stage=stage, tokens_per_microbatch=24)
    rank = dist.get_rank()
    samples = make_samples()
    samples = samples[:6] if rank == 0 else samples[6:]  # uneven: rank 1 needs dummy micro-batches
    with captured_gradients(learner) as gradients:
        metrics = [learner.step(samples), learner.step(samples)]
    logprobs = learner.logprobs(samples)
    learner.save_checkpoint(out / f"stage-{stage}")

    bad = [replace(samples[0], advantage=np.full_like(samples[0].advantage, np.nan))] if rank == 1 else samples
    before = weights_of(learner)
    refused = learner.step(bad)["optim/refused"]
    untouched = all(torch.equal(w, before[name]) for name, w in weights_of(learner).items())

    learner.step(samples if rank == 0 else [])  # a rank may have nothing
    straight = weights_of(learner)
    learner.load_checkpoint(out / f"stage-{stage}")
    learner.step(samples if rank == 0 else [])
    resumed = all(torch.equal(w, straight[name]) for name, w in weights_of(learner).items())
    results[stage] = {
        "gradients": gradients[0], "metrics": metrics, "logprobs": logprobs, "refused": refused,
        "untouched": untouched, "resumed": resumed,
    }  # fmt: skip
    learner.close()
torch.save(results, out / f"{dist.get_rank()}.pt")
