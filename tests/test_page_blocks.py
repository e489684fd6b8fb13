"""What README, CONTRIBUTING and docs show besides Python: every command parses, the cheap ones run, files load.

Python blocks: test_readme.py. The `bash` blocks of docs/serve.md: recall_env/test_service.py.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import typer
from chat_endpoint import Endpoint, said

import envs_synthetic.__main__
import recall_env.__main__
from recall_env.packages import GROUP
from recall_env.rubric import load_rubric
from recall_env.taskset import TaskSet
from recall_train.commands import COMMANDS
from recall_train.config import load_config

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TESTED = {"python", "sh", "bash", "json", "toml", ""}  # "": drawings, and what a command prints
NOT_RUN = {  # how a line begins -> why it is only parsed
    "make": "sets up an environment, trains or tests",
    ".venv/bin/pytest": "runs the tests",
    "pip": "installs",
    "recall-env serve": "serves until it is stopped: tests/recall_env/test_service.py",
    "recall-env check ReCall/SynTool-v0": "checks every shipped task",
    "recall-env eval ReCall/SynTool-v0 gold --dataset musique.parquet": "wants published data and a search service",
    "recall-env eval Contrib/MyTools-v0": "wants the package installed",
    "recall-env replay runs/demo": "wants a training run",
    "python -m recall_train eval": "wants a training run",
    "python -m recall_train plan": "wants a model of the hub",
    "python -m recall_train recall_train/presets": "trains on a GPU",
    "python -m recall_train #": "trains",
    "deepspeed": "trains on GPUs",
}
SLOW = ("recall-env check m", "recall-env check s", "python -m envs_synthetic", "python -m recall_train doctor")
SMALLER = {"-n 200": "-n 2", "-k 4": "-k 1", "-n 50": "-n 2", "--n 1000": "--n 4"}


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, text) of the blocks of one language."""
    found = ((page.name, *block) for page in PAGES for block in BLOCK.findall(page.read_text()))
    return [(page, text) for page, kind, text in found if kind == language]


def command_lines() -> list[str]:
    """Every line of the sh blocks once, in the order of the pages."""
    lines = [line for _, text in blocks("sh") for line in text.splitlines() if line.strip()]
    first: dict[str, str] = {}
    for line in lines:
        first.setdefault(shlex.join(shlex.split(line, comments=True)), squeezed(line))
    return list(first.values())


def why_not_run(line: str) -> str | None:
    return next((begin for begin in NOT_RUN if line.startswith(begin) or f"{line} #".startswith(begin)), None)


def squeezed(line: str) -> str:
    """The line with single spaces, its comment kept."""
    return re.sub(r"\s+", " ", line).strip()


def parsed_by_click(app: typer.Typer, words: list[str]) -> click.Context:
    """The context of a subcommand, as the command line makes it: unknown words and wrong types are errors."""
    group = typer.main.get_command(app)
    name, command, rest = group.resolve_command(click.Context(group), words)
    return command.make_context(name, rest)


def check_parses(line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        assert words[1] in re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    elif words[0] == ".venv/bin/pytest":
        assert all((ROOT / path).exists() for path in words[1:])
    elif words[:2] == ["pip", "install"]:
        (extras,) = re.findall(r"\.\[([\w,-]+)\]", line)
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(extras.split(",")) <= known.keys()
    elif words[0] == "recall-env":
        parsed_by_click(recall_env.__main__.app, words[1:])
    elif words[:3] == ["python", "-m", "envs_synthetic"]:
        parsed_by_click(envs_synthetic.__main__.app, words[3:])
    elif "recall_train" in words and words[0] in ("python", "deepspeed"):
        rest = words[words.index("recall_train") + 1 :]
        command = rest.pop(0) if rest and rest[0] in COMMANDS else "train"
        paths = [ROOT / word for word in rest if word.endswith(".toml")]
        flags = next((at for at, word in enumerate(rest) if word.startswith("--")), len(rest))
        others = rest[: flags - len(paths)] if command == "eval" else rest[:flags]
        assert command == "eval" or [ROOT / word for word in others] == paths
        load_config(paths, rest[flags:])
    else:
        raise AssertionError(f"nobody knows how to parse: {line}")


def test_every_block_is_of_a_language_that_is_tested():
    languages = {kind for page in PAGES for kind, _ in BLOCK.findall(page.read_text())}
    assert languages == TESTED
    assert {page for page, _ in blocks("bash")} == {"serve.md"}


@pytest.mark.parametrize("line", command_lines())
def test_a_command_is_parsed_by_its_own_command_line(line):
    check_parses(line)


@pytest.mark.parametrize(
    "line",
    [
        "make dmeo",
        "recall-env chek syntool",
        "recall-env check syntool --splt test",
        "recall-env check syntool -n many",
        "python -m envs_synthetic generate --n 0 --out mine.parquet",
        "python -m recall_train plan recall_train/presets/qwen-coder-0.5b.toml --model.pth x",
        "python -m recall_train pln",
        "pip install -e '.[sevre]'",
        "curl http://127.0.0.1",
    ],
)
def test_a_command_that_is_wrong_is_not_parsed(line):
    with pytest.raises(Exception) as caught:
        check_parses(line)
    assert not isinstance(caught.value, KeyError | IndexError | AttributeError)


def test_every_reason_not_to_run_a_line_is_that_of_some_line():
    assert {why_not_run(line) for line in command_lines()} == {*NOT_RUN, None}


def run_lines(folder: Path, lines: list[str]) -> None:
    """Run lines of the pages, made smaller, one after the other in one folder."""
    row = TaskSet.load("syntool", "test")[0].to_row()
    (toml,) = (text for page, text in blocks("toml") if page == "evaluate.md")
    (folder / "mine.toml").write_text(toml)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    models = (200, {"object": "list", "data": [{"id": "my-agent"}]})
    with Endpoint(models, *[said("\\boxed{1}")] * 2, models, *[said("\\boxed{1}")] * 2) as endpoint:
        for line in lines:
            if "my_tools.py" in line:  # not beside the package of that name before: Python would import it instead
                (folder / "my_tools.py").write_text(f"tasks = [{row!r}]\n")
            line = line.replace("http://localhost:8000/v1", endpoint.url)
            for large, small in SMALLER.items():
                line = re.sub(rf"(?<=\s){large}\b", small, line)
            done = subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert endpoint.script == []


def test_cheap_commands_run_in_the_order_of_the_pages(tmp_path):
    lines = [line for line in command_lines() if not why_not_run(line) and not line.startswith(SLOW)]
    assert len(lines) >= 10
    run_lines(tmp_path, lines)


@pytest.mark.slow
def test_all_commands_that_can_run_do_in_the_order_of_the_pages(tmp_path):
    run_lines(tmp_path, [line for line in command_lines() if not why_not_run(line)])
    assert json.loads((tmp_path / "report.json").read_text())["sound"] == 1


def test_the_line_of_tasks_is_one_that_a_class_takes_and_its_solution_is_paid(tmp_path):
    ((page, text),) = blocks("json")
    assert page == "contribute.md"
    (tmp_path / "tasks.jsonl").write_text(text)
    (tmp_path / "library.py").write_text(
        "from recall_env import ToolEnv, tool\n\nclass Library(ToolEnv):\n    tasks = 'tasks.jsonl'\n\n"
        "    def setup(self, state):\n        self.authors, self.shelves = state['authors'], state['shelves']\n\n"
        "    @tool\n    def author_of(self, title: str) -> str:\n        '''Who wrote it.'''\n"
        "        return self.authors[title]\n\n"
        "    @tool\n    def shelf_of(self, author: str) -> str:\n        '''Where they stand.'''\n"
        "        return self.shelves[author]\n"
    )
    command = [str(Path(sys.executable).with_name("recall-env")), "check", "library.py", "--only", "gold", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["checks"]["gold"]["ok"] == 1


def test_toml_blocks_load(tmp_path):
    by_page = dict(blocks("toml"))
    assert by_page.keys() == {"contribute.md", "evaluate.md"}
    (tmp_path / "mine.toml").write_text(by_page["evaluate.md"])
    assert load_rubric(str(tmp_path / "mine.toml")).full_marks == pytest.approx(1.0)
    points = tomllib.loads(by_page["contribute.md"])["project"]["entry-points"]
    template = tomllib.loads((ROOT / "recall_env" / "template" / "pyproject.toml").read_text())
    assert points == template["project"]["entry-points"] and points.keys() == {GROUP}
