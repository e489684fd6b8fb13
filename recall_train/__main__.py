"""python -m recall_train: train, eval, plan, doctor. Words on stderr, results on stdout; exit 0, 1, 2 or 130."""

import sys

USAGE = """\
python -m recall_train [train] [FILE.toml ...] [--section.key value ...]   train; default: the tiny model on SynTool
python -m recall_train eval RUN [--eval.n 400 ...]                         held-out success of a run's newest model
python -m recall_train plan [FILE.toml ...] [--section.key value ...]      what would be done, without doing it
python -m recall_train doctor                                              what this machine can run

Settings are the fields of recall_train/config.py; presets lie in recall_train/presets/. For example
  python -m recall_train --run.steps 5 --run.folder runs/short
  python -m recall_train recall_train/presets/qwen-coder-0.5b.toml --model.path Qwen/Qwen2.5-0.5B-Instruct
"""
EXTRA_OF = {"torch": "train", "transformers": "train", "deepspeed": "train", "pydantic": "train", "numpy": "train",
            "accelerate": "train", "safetensors": "train", "matplotlib": "train", "wandb": "train"}  # fmt: skip


def main(words: list[str] | None = None) -> int:
    """The command line. Every fault a person can fix ends in one line on stderr and exit code 2."""
    words = sys.argv[1:] if words is None else words
    if any(word in ("-h", "--help") for word in words):
        print(USAGE, end="")
        return 0
    try:
        from recall_env.errors import RecallError
        from recall_train import commands
    except ModuleNotFoundError as e:
        return _missing(e)
    command, rest = (words[0], words[1:]) if words and words[0] in commands.COMMANDS else ("train", words)
    try:
        return commands.COMMANDS[command](rest)
    except RecallError as e:
        print(f"recall_train: {e}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as e:
        return _missing(e)
    except KeyboardInterrupt:
        print("recall_train: stopped at once; the last checkpoint stands, the same command goes on", file=sys.stderr)
        return 130


def _missing(e: ModuleNotFoundError) -> int:
    package = (e.name or "").partition(".")[0]
    if package not in EXTRA_OF:
        raise e
    print(f"recall_train: {package} is not installed: pip install -e '.[{EXTRA_OF[package]}]'", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
