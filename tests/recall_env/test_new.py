"""recall-env new: a package that is sound at once, and nothing that was there is overwritten."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from envs_synthetic.verify import soundness
from recall_env.errors import RecallError
from recall_env.new import TEMPLATE, create
from recall_env.packages import class_of, find, one_of

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def made(define, tmp_path, monkeypatch):
    """A package, whose module is forgotten after the test."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield create("lamp_shop", tmp_path / "lamps")
    sys.modules.pop("lamp_shop", None)


def test_the_class_has_at_most_15_lines(made):
    _, module = made
    lines = [line for line in module.read_text().splitlines() if line.strip()]
    assert len(lines) <= 15


def test_every_file_bears_the_new_name(made):
    folder, module = made
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        *("README.md", "pyproject.toml", "src/lamp_shop/__init__.py", "src/lamp_shop/tasks.jsonl"),
        "tests/test_lamp_shop.py",
    }
    assert 'class LampShop(ToolEnv, id="Contrib/LampShop-v0")' in module.read_text()
    text = "".join((folder / file).read_text() for file in files)
    assert not re.search("my_tools|MyTools", text)


def test_its_tasks_are_sound(made, shared_jail):
    folder, _ = made
    assert find(str(folder)) == ["Contrib/LampShop-v0"] and one_of(str(folder)) == "lamp_shop:LampShop"
    tasks = class_of("lamp_shop:LampShop").task_set()
    assert len(tasks) == 3
    assert [(task.id, soundness(task, shared_jail)) for task in tasks] == [(task.id, []) for task in tasks]


def test_its_own_tests_pass(made):
    folder, _ = made
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr


def test_new_and_then_check_is_all_that_is_typed(tmp_path):
    for words in (("new", "lamp_shop"), ("check", "lamp_shop", "--strict")):
        command, environment = [sys.executable, "-m", "recall_env", *words], {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 tasks are sound" in done.stderr or "3 tasks" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("1st", "'1st' is no name for a package; take small letters, digits and _"),
        ("My_Tools", "no name for a package"),
        ("a b", "no name for a package"),
        ("../up", "no name for a package"),
        ("class", "no name for a package"),
        ("json", "'json' is a module of Python's own"),
        ("numpy", "'numpy' is the name of an installed module"),
        ("recall-env", "'recall-env' is the name of an installed module"),
    ],
)
def test_a_name_that_cannot_be_imported_or_is_taken_is_refused(tmp_path, name, words):
    with pytest.raises(RecallError, match=words):
        create(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nothing_is_overwritten(made):
    folder, module = made
    module.write_text("mine")
    with pytest.raises(RecallError, match="is there already; nothing was changed"):
        create("lamp_shop", folder)
    assert module.read_text() == "mine"


def test_a_name_with_a_hyphen_becomes_a_module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, module = create("two-words")
    assert folder == Path("two-words") and module == Path("two-words/src/two_words/__init__.py")
    assert "class TwoWords" in module.read_text()


def test_the_template_is_shipped_whole():
    """What setuptools puts into a wheel: the pattern of pyproject.toml, and it has no file of another kind."""
    assert 'recall_env = ["template/**/*"]' in (ROOT / "pyproject.toml").read_text()
    tracked = subprocess.run(
        ["git", "ls-files", "recall_env/template"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {Path(line).suffix for line in tracked.stdout.split()} == {".py", ".toml", ".md", ".jsonl"}
    assert TEMPLATE.is_dir()
