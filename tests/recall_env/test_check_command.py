"""recall-env check as a person runs it: what may be named, what is printed, the exit code; and over all cores."""

import json
import subprocess
import sys
from pathlib import Path

import planted
import pytest
import sound

from recall_env.check.targets import tasks_of
from recall_env.errors import RecallError
from recall_env.registry import register_tasks
from recall_env.taskset import TaskSet


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "recall_env", "check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd)


def written(path: Path, *tasks) -> Path:
    path.write_text("".join(json.dumps(task.to_row()) + "\n" for task in tasks))
    return path


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Three sound tasks, one with a defect, one with a warning, and a row that is no task."""
    bad, doubtful = (planted.PLANTED[name].task for name in ("a short cut", "another count of calls"))
    path = written(tmp_path / "mixed.jsonl", *sound.SOUND, bad, doubtful)
    path.write_text(path.read_text() + '{"question": 3}\n')
    return path


def test_a_table_for_people_and_exit_code_1(mixed):
    done = run(mixed)
    assert done.returncode == 1
    assert "single_call" in done.stdout and "what it proves" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("error: badge: ")]
    assert line == "error: badge: single_call: badge_of_item(item='lamp') alone gives 'k4711'; the task counts 2 calls"
    assert "error: row 5: row: mixed.jsonl line 6: " in done.stdout
    assert "warning: badge: budget: n_calls says 5, the solution makes 2 calls" in done.stdout
    assert "checked: 6/6" in done.stderr and "4 of 6 tasks are sound, 2 are not, 1 with warnings" in done.stderr


def test_json_for_machines_is_the_same_each_time_and_over_any_number_of_processes(mixed, tmp_path):
    outputs = [run(mixed, "--json", "--jobs", jobs, "--output", tmp_path / "report.json") for jobs in (1, 2)]
    assert outputs[0].stdout == outputs[1].stdout == (tmp_path / "report.json").read_text()
    report = json.loads(outputs[0].stdout)
    assert {"form", "recall", "python", "target", "content", "settings", "tasks", "sound", "checks", "points"} == set(
        report
    )
    assert (report["tasks"], report["sound"]) == (6, 4)
    assert report["checks"]["single_call"] | {"meaning": ""} == {
        **{"meaning": "", "severity": "error"},
        **{"ok": 4, "warning": 0, "failed": 1, "skipped": 0},
    }
    point = report["points"][0]
    assert point["id"] == "badge" and point["sound"] and point["content_hash"] == sound.BADGES.content_hash
    assert set(point["checks"].values()) == {"ok"} and point["figures"]["n_calls"] == 2
    assert report["points"][5]["findings"][0]["check"] == "row"


def test_exit_0_for_what_is_sound_and_strict_counts_warnings(tmp_path):
    doubtful = planted.PLANTED["another count of calls"].task
    path = written(tmp_path / "one.jsonl", doubtful)
    assert run(path, "--only", "schema", "--only", "budget").returncode == 0
    assert run(path, "--only", "budget", "--strict").returncode == 1
    done = run(path, "--skip", "budget", "--strict", "--json")
    assert done.returncode == 0 and "budget" not in json.loads(done.stdout)["checks"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "what is to be checked?"),
        (["nothing.parquet"], "no file or folder 'nothing.parquet'"),
        (["syntol"], "no dataset 'syntol'; did you mean 'syntool'?"),
        (["ReCall/SynTol-v0"], "did you mean 'ReCall/SynTool-v0'?"),
        (["syntool", "--split", "tset"], "no split 'tset'; did you mean 'test'?"),
        (["syntool", "--only", "schemas"], "no check 'schemas'; did you mean 'schema'?"),
        (["syntool", "--rubric", "answr"], "no rubric 'answr'; did you mean 'answer'?"),
        (["syntool", "--output", "no/such/file"], "there is no folder"),
    ],
)
def test_what_was_asked_wrongly_is_one_line_and_exit_code_2(arguments, words):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr and done.stderr.count("\n") == 1


def test_the_checks_can_be_listed():
    done = run("--checks", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)[0]["check"] == "schema"


def test_a_file_a_folder_a_set_an_id_and_a_module_stand_for_tasks(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    file = written(folder / "mine-test.jsonl", *sound.SOUND)
    ids = [task.id for task in sound.SOUND]
    assert [task.id for task in tasks_of(str(file))] == [task.id for task in tasks_of(str(folder), "test")] == ids
    assert len(tasks_of("syntool", "test")) == len(tasks_of("ReCall/SynTool-v0", "test")) == 400
    env_id = register_tasks(TaskSet.load(file))[1]
    assert [task.id for task in tasks_of(env_id)] == ["stock"]
    code = f"from recall_env.taskset import TaskSet\n\ndef tasks():\n    return TaskSet.load({str(file)!r})\n"
    (tmp_path / "my_tasks.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    assert [task.id for task in tasks_of(str(tmp_path / "my_tasks.py"))] == ids
    assert [task.id for task in tasks_of("my_tasks")] == ids
    (tmp_path / "rows.py").write_text(f"TASKS = [{sound.BADGES.to_row()!r}]\n")
    assert [task.id for task in tasks_of(str(tmp_path / "rows.py"))] == ["badge"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("1 / 0", "broken.py cannot be imported: ZeroDivisionError"),
        ("x = 1", "defines neither of tasks and TASKS"),
        ("tasks = 3", "expected a TaskSet, or a list of Tasks or rows, got int"),
        ("tasks = [{}]", "broken, task 0: "),
    ],
)
def test_a_module_without_tasks_says_what_was_looked_for(tmp_path, code, words):
    path = tmp_path / "broken.py"
    path.write_text(code)
    with pytest.raises(RecallError, match=words):
        tasks_of(str(path))


def test_an_environment_of_somebody_else_has_no_tasks():
    with pytest.raises(RecallError, match="CartPole-v1 is no environment of ReCall"):
        tasks_of("CartPole-v1")
