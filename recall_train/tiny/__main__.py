"""python -m recall_train.tiny: rebuild recall-tiny from a seed. Tasks, demonstrations, tokenizer, weights, in order.

Each stage leaves a file in the work folder and is skipped when that file is there. Without a GPU the last stage takes
hours instead of minutes.
"""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from recall_env.errors import RecallError
from recall_train.models import SHIPPED
from recall_train.tiny.imitate import Demonstration, Plan, demonstrations
from recall_train.tiny.pretrain import Corpus, Shape, new_model, pretrain, tokenise
from recall_train.tiny.tokenizer import build_tokenizer, save_tokenizer
from recall_train.tokens import ChatTokens

WORDS = Console(stderr=True, soft_wrap=True, highlight=False)


def main(
    out: Annotated[Path, typer.Option(help="Where the model goes.")] = SHIPPED["recall-tiny"],
    work: Annotated[Path, typer.Option(help="Where the stages leave their files.")] = Path("runs/tiny"),
    seed: Annotated[int, typer.Option(help="Of tasks, mistakes, initial weights and batch order.")] = 1,
    tasks: Annotated[int, typer.Option(help="How many tasks to demonstrate.")] = 60_000,
    plain: Annotated[int, typer.Option(help="Demonstrations of each task as it is.")] = 1,
    renamed: Annotated[int, typer.Option(help="Demonstrations of each task in other words.")] = 1,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 9_500,
    tokens_per_step: Annotated[int, typer.Option(help="Padded tokens of one optimiser step.")] = 32_768,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-3,
) -> None:
    """Rebuild recall-tiny. For example: python -m recall_train.tiny --out tiny --tasks 2000 --steps 200"""
    work.mkdir(parents=True, exist_ok=True)
    task_file = work / f"syntool-imitation-{seed}-{tasks}.parquet"
    if not task_file.exists():
        WORDS.print(f"generating {tasks} tasks of the training families, seed {seed}")
        _generate(task_file, seed, tasks)
    corpus_file = work / f"corpus-{seed}-{tasks}-{plain}-{renamed}.npz"
    tokenizer_folder = work / f"tokenizer-{seed}-{tasks}"
    if not corpus_file.exists():
        WORDS.print("playing demonstrations in the jail")
        demos = list(demonstrations(Plan(task_file, seed, plain, renamed)))
        success = sum(demo.success for demo in demos) / len(demos)
        WORDS.print(f"{len(demos)} demonstrations, {success:.1%} of them successful")
        _learn_tokenizer(demos, tokenizer_folder)
        tokenise(demos, tokenizer_folder).save(corpus_file)
    tokens = ChatTokens(tokenizer_folder)
    corpus = Corpus.load(corpus_file)
    model = new_model(Shape(), tokens.tokenizer, seed)
    count = sum(p.numel() for p in model.parameters())
    WORDS.print(f"{count / 1e6:.2f} M parameters; {len(corpus)} demonstrations, {len(corpus.ids) / 1e6:.1f} M tokens")

    def report(step: int, loss: float, tokens_per_s: float) -> None:
        WORDS.print(f"step {step}/{steps}  loss {loss:.4f}  {tokens_per_s / 1e3:.0f}k tokens/s")

    pretrain(model, corpus, steps=steps, tokens_per_step=tokens_per_step, lr=lr, seed=seed, report=report)
    model.to(torch.bfloat16).save_pretrained(out)
    save_tokenizer(tokens.tokenizer, out)
    WORDS.print(f"recall-tiny is in {out}; next: python -m recall_train --model.path {out}")


def _generate(path: Path, seed: int, count: int) -> None:
    """By the command, not by import: recall_train knows nothing of envs_synthetic."""
    command = [sys.executable, "-m", "envs_synthetic", "generate", "--out", str(path), "--split", "train"]
    # no proof in the jail: every one of them is played there as a demonstration a moment later
    done = subprocess.run([*command, "--seed", str(seed), "--n", str(count), "--no-jail"])
    if done.returncode:
        raise SystemExit(done.returncode)


def _learn_tokenizer(demos: list[Demonstration], folder: Path) -> None:
    """Merges from the first demonstrations in their own words: made-up words are to stay in pieces."""
    plain = [demo for demo in demos[:8_000] if not demo.renamed]
    texts = (text for demo in plain for text in _texts(demo))
    system = demos[0].opening[0]["content"]
    save_tokenizer(build_tokenizer(texts, Shape().vocab_size, fixed=(system,)), folder)


def _texts(demo: Demonstration):
    """Everything of a demonstration that a model reads, as pieces of text."""
    for message in demo.opening:
        yield f"{message['role']}\n{message['content']}\n"
    for tool in demo.tools:
        function = tool["function"]
        yield function["name"]
        yield function["description"]
        for name, parameter in function["parameters"]["properties"].items():
            yield f'"{name}" {parameter.get("description", "")}'
    for turn in demo.turns:
        yield f"assistant\n{turn}"
    for reply in demo.replies:
        for message in reply:
            yield f"user\n{message['content']}\n"


if __name__ == "__main__":
    try:
        typer.run(main)
    except RecallError as e:
        print(f"recall_train.tiny: {e}", file=sys.stderr)
        sys.exit(2)
