"""Contributed packages: found by metadata, imported when used, and a broken one is named and harms nobody."""

import json
import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest

from recall_env.new import create

ROOT = Path(__file__).parent.parent.parent
GOOD = '''
from recall_env import ToolEnv, tool


class Good(ToolEnv, id="Contrib/Good-v0"):
    tasks = [{"question": "What is under x?", "ground_truth": "1", "state": {"x": "1"},
              "solution": {"calls": [{"name": "look", "arguments": {"key": "x"}}], "answer": "1"}}]
    rubric = "progress"

    def setup(self, state):
        self.state = state

    @tool
    def look(self, key: str) -> str:
        """Look."""
        return self.state[key]
'''


@pytest.fixture
def site(tmp_path):
    """A folder of installed packages; `offer` puts one in, by hand."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def offer(site: Path, package: str, points: str, files: dict[str, str] | None = None) -> None:
    info = site / f"{package.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[recall_env.envs]\n{points}\n")
    for name, text in (files or {}).items():
        (site / name).write_text(text)


def fresh(site: Path, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """A new process that has the packages of `site` installed."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{site}"}
    where = site if cwd is None else cwd
    return subprocess.run(
        [sys.executable, *command], cwd=where, env=environment, capture_output=True, text=True, timeout=120
    )


def test_an_installed_package_is_found_by_its_id_and_imported_when_it_is_made(site, tmp_path):
    folder, _ = create("lamp_shop", tmp_path / "lamp_shop")
    command = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site)]
    installed = fresh(site, *command, str(folder), cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr
    program = """
import sys, gymnasium as gym, recall_env
assert "Contrib/LampShop-v0" in gym.registry and "lamp_shop" not in sys.modules
env = gym.make("Contrib/LampShop-v0")
print(env.reset(seed=0)[1]["task_id"], len(env.unwrapped.tasks), env.spec.to_json())
env.close()
"""
    done = fresh(site, "-c", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    task_id, count, spec = done.stdout.split(" ", 2)
    assert task_id.startswith("lampshop-") and count == "3"
    assert json.loads(spec)["kwargs"]["dataset"] == "lamp_shop:LampShop"
    played = fresh(site, "-m", "recall_env", "play", "lamp-shop", "gold", cwd=tmp_path)
    assert played.returncode == 0 and "reward 1" in played.stderr, played.stderr


def test_broken_packages_are_named_and_the_others_work(site):
    offer(site, "good-one", "Contrib/Good-v0 = good_one:Good", {"good_one.py": GOOD})
    offer(site, "raises", "Contrib/Raises-v0 = raises_at_import:Env", {"raises_at_import.py": "1 / 0"})
    offer(site, "exits", "Contrib/Exits-v0 = exits_at_import:Env", {"exits_at_import.py": "raise SystemExit(3)"})
    offer(site, "absent", "Contrib/Absent-v0 = not_there:Env")
    offer(site, "no-class", "Contrib/NoClass-v0 = good_one:tool")
    offer(site, "no-tool", "Contrib/NoHint-v0 = no_hint:Env", {"no_hint.py": GOOD.replace("key: str", "key")})
    offer(site, "bad-id", "weather = good_one:Good")
    offer(site, "ours", "ReCall/SynTool-v0 = good_one:Good")
    offer(site, "thief", "Contrib/Good-v0 = thief:Good")
    offer(site, "garbled", "this is no entry point")
    listed = fresh(site, "-m", "recall_env", "list")
    assert listed.returncode == 0
    assert "Contrib/Good-v0\tgood-one\t1" in listed.stdout
    faults = [line.removeprefix("recall-env: package ") for line in listed.stderr.splitlines()]
    assert sorted(faults) == sorted(
        [
            "absent 1.2: not_there:Env cannot be imported: ModuleNotFoundError: No module named 'not_there'",
            "bad-id 1.2: the id 'weather' is not of the form Namespace/Name-v0",
            "garbled 1.2: its entry points cannot be read",
            "exits 1.2: exits_at_import:Env cannot be imported: SystemExit: 3",
            "no-class 1.2: good_one:tool is no ToolEnv class",
            "no-tool 1.2: no_hint:Env: no_hint.py: class Good: tool 'look': parameter 'key': it has no type hint",
            "ours 1.2: ids of the namespace ReCall are ReCall's own",
            "raises 1.2: raises_at_import:Env cannot be imported: ZeroDivisionError: division by zero",
            "thief 1.2: package good-one has Contrib/Good-v0 already",
        ]
    )
    played = fresh(site, "-m", "recall_env", "play", "Contrib/Good-v0", "gold")
    assert played.returncode == 0 and "reward 1" in played.stderr, played.stderr
    broken = fresh(site, "-m", "recall_env", "play", "Contrib/Raises-v0", "gold")
    assert broken.returncode == 2 and broken.stderr.startswith("recall-env: package raises 1.2: raises_at_import:Env")
    assert broken.stderr.count("\n") == 1


def test_a_module_may_be_offered_without_its_class(site):
    offer(site, "good-one", "Contrib/Good-v0 = good_one", {"good_one.py": GOOD})
    done = fresh(site, "-m", "recall_env", "play", "good_one", "gold", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["reward"] == 1.0
    assert json.loads(done.stdout)["info"]["score"]["values"]["progress"] == 1.0  # its own rubric, unless one is given
    named = fresh(site, "-m", "recall_env", "play", "good_one", "gold", "--rubric", "recall")
    assert named.returncode == 0 and "reward 0," in named.stderr  # of good form only with <think>


def test_a_file_is_enough(site, tmp_path):
    (tmp_path / "weather.py").write_text(GOOD)
    done = fresh(site, "-m", "recall_env", "eval", "weather.py", "gold", "-n", "1", cwd=tmp_path)
    assert done.returncode == 0 and "mean reward 1.000" in done.stdout, done.stderr
    shown = fresh(site, "-m", "recall_env", "show", "weather.py", "--source", cwd=tmp_path)
    assert "look(key: string): Look." in shown.stdout and "class Good:" in shown.stdout


def test_several_environments_under_one_name_are_asked_apart(site, tmp_path):
    second = GOOD.replace("Good", "Second").split("\n\n\n", 1)[1]
    (tmp_path / "two.py").write_text(GOOD + "\n\n" + second)
    done = fresh(site, "-m", "recall_env", "play", "two.py", "gold", cwd=tmp_path)
    assert done.returncode == 2
    assert (
        done.stderr == "recall-env: two.py holds several environments; name one: Contrib/Good-v0, Contrib/Second-v0\n"
    )


BAD = GOOD.replace("Good", "Bad").replace('"ground_truth": "1"', '"ground_truth": "2"')  # what gold does not reach


def test_all_environments_of_a_package_are_checked_and_the_worst_exit_code_counts(site):
    points = "Contrib/Good-v0 = pair_env:Good\nContrib/Bad-v0 = pair_env:Bad"
    offer(site, "pair", points, {"pair_env.py": GOOD + BAD.split("\n\n\n", 1)[1]})
    done = fresh(site, "-m", "recall_env", "check", "pair", "--only", "gold", "--only", "schema")
    assert done.returncode == 1, done.stderr
    good, bad = done.stdout[done.stdout.index("Contrib/Good-v0") :], done.stdout[: done.stdout.index("Contrib/Good-v0")]
    assert bad.startswith("\nContrib/Bad-v0\n") and "error: " in bad and "error: " not in good
    assert good.count("what it proves") == bad.count("what it proves") == 1
    assert "Contrib/Bad-v0: 0 of 1 tasks are sound, 1 are not" in done.stderr
    assert "Contrib/Good-v0: 1 of 1 tasks are sound" in done.stderr
    done = fresh(site, "-m", "recall_env", "check", "pair", "--only", "schema", "--json", "--output", "report.json")
    assert done.returncode == 0 and (site / "report.json").read_text() == done.stdout
    report = json.loads(done.stdout)
    assert [(one["target"], one["sound"], one["settings"]["rubric"]) for one in report["environments"]] == [
        ("Contrib/Bad-v0", 1, "pair_env:Bad"),
        ("Contrib/Good-v0", 1, "pair_env:Good"),
    ]


def test_one_broken_environment_of_several_is_named_and_the_others_are_checked(site):
    points = "Contrib/Good-v0 = half_good:Good\nContrib/Gone-v0 = half_good:Gone"
    offer(site, "half", points, {"half_good.py": GOOD})
    done = fresh(site, "-m", "recall_env", "check", "half", "--only", "schema")
    assert done.returncode == 2 and "\nContrib/Good-v0\n" in done.stdout
    assert "Contrib/Gone-v0: package half 1.2: half_good:Gone cannot be imported" in done.stderr, done.stderr


def test_the_tasks_of_all_environments_of_a_file_are_listed(site, tmp_path):
    (tmp_path / "two.py").write_text(GOOD + BAD.split("\n\n\n", 1)[1])
    done = fresh(site, "-m", "recall_env", "list", str(tmp_path / "two.py"))
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [(row[0], row[-1]) for row in rows] == [
        ("Contrib/Good-v0", "What is under x?"),
        ("Contrib/Bad-v0", "What is under x?"),
    ]
    done = fresh(site, "-m", "recall_env", "list", str(tmp_path / "two.py"), "--json")
    assert [row["environment"] for row in json.loads(done.stdout)] == ["Contrib/Good-v0", "Contrib/Bad-v0"]


@pytest.mark.parametrize(
    ("pyproject", "words"),
    [
        ("[project", "pyproject.toml cannot be read"),
        ('[project.entry-points."recall_env.envs"]\nx = "y"', "the id 'x' is not of the form Namespace/Name-v0"),
        (
            '[project.entry-points."recall_env.envs"]\n"A/B-v0" = "absent_module:C"',
            "absent_module:C cannot be imported",
        ),
    ],
)
def test_a_folder_that_offers_nothing_good_says_why(site, tmp_path, pyproject, words):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "pyproject.toml").write_text(pyproject)
    done = fresh(site, "-m", "recall_env", "play", "folder", "gold", cwd=tmp_path)
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr


JUDGED = '''
from dataclasses import dataclass
from recall_env import ToolEnv, tool
from recall_env.rubric import Exact, Gate, Rubric, StateEquals, part


@part
@dataclass(frozen=True)
class Polite:
    word: str = "please"

    def __call__(self, episode):
        return float(episode.task.question.startswith(self.word))


class Judged(ToolEnv):
    tasks = [{"question": "please move the lamp, and say where it was", "ground_truth": "A1",
              "state": {"lamp": "A1"}, "final_state": {"lamp": "B2"},
              "solution": {"calls": [{"name": "move", "arguments": {"item": "lamp"}}], "answer": "A1"}}]
    rubric = Rubric(
        {"answer": (0.5, Exact()), "state": (0.25, StateEquals()), "polite": (0.25, Gate(Exact(), Polite()))}
    )

    def setup(self, state):
        self.places = state

    def final_state(self):
        return self.places

    @tool
    def move(self, item: str) -> str:
        """Move an item to its place; says where it was."""
        was, self.places[item] = self.places[item], "B2"
        return was
'''


def test_a_class_of_a_file_is_checked_played_and_replayed_under_its_own_rubric(tmp_path):
    (tmp_path / "judged.py").write_text(JUDGED)
    done = fresh(tmp_path, "-m", "recall_env", "check", "judged.py", "--strict", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["settings"]["rubric"] == "judged:Judged" and report["sound"] == 1
    words = ("eval", "judged.py", "gold", "--split", "all", "--output", "r.json", "--json")
    done = fresh(tmp_path, "-m", "recall_env", *words, cwd=tmp_path)
    assert json.loads(done.stdout)["mean_reward"] == 1.0, done.stderr
    (tmp_path / "judged.py").rename(tmp_path / "moved.py")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    lost = fresh(elsewhere, "-m", "recall_env", "replay", "../r.jsonl", cwd=elsewhere)
    assert lost.returncode == 2 and "say where it is: --dataset" in lost.stderr
    (tmp_path / "moved.py").rename(tmp_path / "judged.py")
    for command in (("replay",), ("rescore",), ("rescore", "--rubric", "judged:Judged")):
        name, *options = command
        where = (f"{tmp_path}/r.jsonl", "--dataset", f"{tmp_path}/judged.py", *options)
        done = fresh(elsewhere, "-m", "recall_env", name, *where, cwd=elsewhere)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "mean reward 1.0000 -> 1.0000" in done.stderr


def test_a_vector_environment_has_the_rubric_of_its_class(define, shared_jail):
    env = define(JUDGED.replace("Judged(ToolEnv)", 'Judged(ToolEnv, id="Contrib/Judged-v0")')).Judged
    envs = gym.make_vec(env.id, num_envs=2)
    envs.reset(seed=0)
    envs.step(['<tool_call>{"name": "move", "arguments": {"item": "lamp"}}</tool_call>'] * 2)
    _, rewards, *_ = envs.step(["\\boxed{A1}", "no"])
    envs.close()
    assert rewards.tolist() == [1.0, 0.25]
