"""A whole run on a GPU, as the presets make it: bfloat16, vLLM with its graphs and its sleep, DeepSpeed ZeRO-2."""

import json
import subprocess
import sys

import pytest


@pytest.mark.gpu
def test_a_run_on_a_gpu_samples_with_the_learners_weights_at_every_step(tmp_path):
    words = """--model.device cuda --model.dtype bfloat16 --learner.zero_stage 2 --engine.kind vllm --run.steps 3
        --rollout.deterministic false --rollout.tasks_per_step 4 --eval.n 8 --run.minutes 0""".split()
    command = [sys.executable, "-m", "recall_train", *words, "--run.folder", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    # Stale or broken weights after a sleep would show here; bfloat16 itself costs about 1e-3.
    assert len(steps) == 3 and all(line["mismatch_kl/mean"] < 1e-2 for line in steps)
