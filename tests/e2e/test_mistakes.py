"""A stranger's mistakes through the real command line: exit code 2, one line that says what to do, no traceback.

Every case is made for real: files that are broken, packages that cannot be imported, a kernel that refuses namespaces.
The commands run beside each other, two at a time; each test reads what one of them said.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from obstacles import NO_NAMESPACES, NO_NSJAIL

from recall_env.task import Task

# Found on PYTHONPATH, it runs before anything else: these packages are as if they had never been installed.
BLOCK = """
import os, sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        gone = name.partition(".")[0] == os.environ["NOT_INSTALLED"]
        return None if gone else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(Without, sys.meta_path)
"""
PRESETS = Path(__file__).parents[2] / "recall_train" / "presets"


@dataclass(frozen=True)
class Case:
    words: list[str]
    said: list[str]  # what the line must hold
    without: str = ""  # a package that is not installed
    before: str = ""  # Python that takes something away from the process first
    slow: bool = False
    announces: bool = False  # the run folder's line may come first


CASES = {
    "a misspelt setting": Case(
        ["--learner.lrr", "3e-4"], ["learner.lrr: no such setting", "did you mean learner.lr?"]
    ),
    "a misspelt section": Case(["--lerner.lr", "3e-4"], ["lerner: no such setting", "did you mean learner?"]),
    "a setting of the wrong type": Case(
        ["--learner.lr", "fast"], ["learner.lr: input should be a valid number, got 'fast'"]
    ),
    "a setting out of its range": Case(
        ["--rollout.group_size", "1"], ["rollout.group_size: input should be greater than or equal to 2, got 1"]
    ),
    "an override without a value": Case(["--run.steps"], ["--run.steps: a value is missing"]),
    "a word that is no override": Case(["--fast"], ["--fast: expected an override like --learner.lr 3e-5"]),
    "a typo in a file": Case(["typo.toml"], ["typo.toml: run.step: no such setting", "did you mean run.steps?"]),
    "a preset that does not exist": Case(["dmo.toml"], ["dmo.toml: no such file", "demo.toml"]),
    "a preset that is not TOML": Case(["not.toml"], ["not.toml: not a TOML file", "line 1"]),
    "settings that exclude each other": Case(
        ["--engine.max_context", "100"], ["rollout.max_turn_tokens (128) must be below engine.max_context (100)"]
    ),
    "no torch": Case([], ["torch is not installed: pip install -e '.[train]'"], without="torch"),
    "no pydantic": Case([], ["pydantic is not installed: pip install -e '.[train]'"], without="pydantic"),
    "no deepspeed": Case([], ["deepspeed is not installed: pip install -e '.[train]'"], without="deepspeed"),
    "no vllm": Case(
        ["--engine.kind", "vllm"],
        ["engine.kind = vllm, but vLLM is not installed: pip install -e '.[vllm]'"], without="vllm",
    ),
    "no wandb": Case(
        ["--run.wandb", "offline"],
        ["run.wandb = offline, but wandb is not installed: pip install -e '.[train]'"], without="wandb",
    ),
    "no GPU": Case(
        [str(PRESETS / "qwen-coder-0.5b.toml"), "--model.path", "recall-tiny"],
        ["model.device = cuda, but torch sees no GPU here", "--model.device cpu"],
    ),
    "a model that does not exist": Case(
        ["--model.path", "./nowhere"], ["model.path: ./nowhere does not exist", "recall-tiny"]
    ),
    "a model folder without config.json": Case(
        ["--model.path", "empty"], ["model.path: empty has no config.json"]
    ),
    "a model folder with nothing but a config": Case(
        ["--model.path", "bare"], ["bare: no tokenizer here (tokenizer.json)"], announces=True,
    ),
    "a hub name that nobody has": Case(
        ["--model.path", "nobody/nothing"], ["nobody/nothing: no tokenizer can be loaded"], announces=True, slow=True
    ),
    "a bad row in Parquet": Case(
        ["--data.dataset", "row.parquet"],
        ["row.parquet row 1: extra_info.func_schemas: expected JSON", "got '[{'"],
    ),
    "a bad row in JSON Lines": Case(
        ["--data.dataset", "row.jsonl"], ["row.jsonl line 2: question: expected text, got 7"]
    ),
    "a Parquet file that is not one": Case(
        ["--data.dataset", "junk.parquet"], ["junk.parquet: not a readable Parquet file"]
    ),
    "data that does not exist": Case(["--data.dataset", "gone.parquet"], ["no file or folder 'gone.parquet'"]),
    "a misspelt data set": Case(["--data.dataset", "syntol"], ["no dataset 'syntol'; did you mean 'syntool'?"]),
    "an unknown split": Case(
        ["--data.split", "trian"], ["syntool has no split 'trian'; did you mean 'train'?"]
    ),
    "an unknown family": Case(
        ["--data.families", '["lookup_chian"]'], ["syntool has no family 'lookup_chian'; did you mean 'lookup_chain'?"]
    ),
    "a rubric nobody knows": Case(
        ["--env.rubric", "anser"], ["env.rubric: no rubric 'anser'; did you mean 'answer'?"]
    ),
    "no nsjail": Case([], ["no nsjail here", "run `recall-env doctor`"], before=NO_NSJAIL),
    "no user namespaces": Case([], ["a jail could not", "run `recall-env doctor`"], before=NO_NAMESPACES),
    "a run folder that holds something else": Case(
        ["--run.folder", "thesis"], ["thesis: not empty and not a run; give --run.folder another name"]
    ),
    "a run folder that is a file": Case(
        ["--run.folder", "typo.toml"], ["typo.toml: a file, not a run folder"]
    ),
    "eval of nothing": Case(["eval"], ["eval needs a run folder: python -m recall_train eval runs/demo"]),
    "eval of a folder that is no run": Case(["eval", "thesis"], ["thesis: not a run folder (no config.toml)"]),
    "eval of a folder that does not exist": Case(["eval", "gone"], ["gone: not a run folder (no config.toml)"]),
    "eval of a run that saved nothing": Case(["eval", "young"], ["young: no checkpoint yet"]),
    "arguments for the doctor": Case(["doctor", "now"], ["doctor takes no arguments, got now"]),
}  # fmt: skip


def fill(folder: Path, tasks: list[Task]) -> None:
    """Everything that the cases point at."""
    (folder / "typo.toml").write_text("[run]\nstep = 3\n")
    (folder / "not.toml").write_text("run: {steps: 3}\n")
    (folder / "empty").mkdir()
    (folder / "bare").mkdir()
    (folder / "bare" / "config.json").write_text("{}")
    (folder / "thesis").mkdir()
    (folder / "thesis" / "chapter-1.tex").write_text("It was a dark and stormy night.")
    (folder / "young").mkdir()
    (folder / "young" / "config.toml").write_text("")
    (folder / "junk.parquet").write_text("This is not Parquet, whatever its name says.")
    good, bad = tasks[0].to_row(), tasks[1].to_row()
    (folder / "row.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (good, {**bad, "question": 7})))
    bad["extra_info"]["func_schemas"] = "[{"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([good, bad]), folder / "row.parquet")
    (folder / "blocked").mkdir()
    (folder / "blocked" / "sitecustomize.py").write_text(BLOCK)


@pytest.fixture(scope="module")
def outcomes(request, start_command, tmp_path_factory, shop_tasks) -> Iterator[Callable[[str], tuple[int, str, str]]]:
    """outcomes(name): exit code, stdout and stderr of that case. All that were selected start with the first."""
    folder = tmp_path_factory.mktemp("stranger")
    fill(folder, shop_tasks)

    def play(case: Case) -> tuple[int, str, str]:
        env = {"PYTHONPATH": str(folder / "blocked"), "NOT_INSTALLED": case.without} if case.without else {}
        process = start_command(case.words, folder, env=env, before=case.before)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    wanted = [item.callspec.params["name"] for item in request.session.items if item.path == request.path]
    with ThreadPoolExecutor(2) as pool:
        futures: dict[str, Future] = {name: pool.submit(play, CASES[name]) for name in wanted}
        yield lambda name: futures[name].result()
        for future in futures.values():
            future.cancel()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if case.slow else []) for name, case in CASES.items()]
)
def test_a_mistake_is_answered_in_one_line_that_says_what_to_do(outcomes, name):
    code, out, err = outcomes(name)
    lines = err.splitlines()
    if CASES[name].announces:
        assert lines.pop(0).startswith("run folder: ")
    assert code == 2, err
    assert out == ""
    assert len(lines) == 1, err
    assert lines[0].startswith("recall_train: ")
    assert [words for words in CASES[name].said if words not in lines[0]] == [], lines[0]
