"""recall-env, in this process: what it prints, where, and with what exit code."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recall_env import __main__ as cli
from recall_env.sandbox import diagnose

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(monkeypatch, capsys, shared_jail):
    """run("show", ...) -> (exit code, stdout, stderr)."""

    def run(*arguments, stdin=""):
        monkeypatch.setattr(sys, "argv", ["recall-env", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as exit:
            cli.main()
        out, err = capsys.readouterr()
        return exit.value.code, out, err

    return run


def test_list_prints_a_line_for_each_task_and_json_when_asked(run, tasks_file):
    code, out, err = run("list", tasks_file)
    assert code == 0 and err == "" and len(out.splitlines()) == 6
    assert out.startswith("ReCall/SynTool.shop-0-v0\tshop\t-\t2\tWhat do two lamps cost?\n")
    code, out, _ = run("list", tasks_file, "--family", "stall", "--json")
    assert [row["id"] for row in json.loads(out)] == [f"ReCall/SynTool.shop-{i}-v0" for i in (1, 3, 5)]


def test_list_filters_by_what_a_task_is_and_says(run, tmp_path, make_task):
    path = tmp_path / "mixed.jsonl"
    fields = [(1, 1, "One lamp?"), (2, "hard", "Two LAMPS?"), (3, None, "A chair?"), (None, 1, "A desk?")]
    tasks = [make_task(i, n_calls=n, difficulty=d, question=q) for i, (n, d, q) in enumerate(fields)]
    tasks[3] = make_task(3, n_calls=None, solution=None, question="A desk?", difficulty=1)  # says not what it needs
    path.write_text("".join(json.dumps(task.to_row()) + "\n" for task in tasks))

    def found(*options):
        code, out, err = run("list", path, *options)
        assert code == 0 and err == ""
        return [line.split("\t")[0][-4] for line in out.splitlines()]

    assert found("--calls", "2") == ["1"] and found("--calls", "2-3") == ["1", "2"]
    assert found("--difficulty", "1") == ["0", "3"] and found("--difficulty", "hard", "--difficulty", "1") == list(
        "013"
    )
    assert found("--grep", "lamps") == ["1"] and found("--grep", "SHOP-2") == ["2"]
    assert found("--grep", "wait_forever") == list("0123") and found("--grep", "nothing like it") == []
    assert found("--family", "shop", "--calls", "1-2", "--grep", "lamp") == ["0"]


def test_list_takes_whatever_stands_for_tasks(run):
    code, out, _ = run("list", "ReCall/SynTool-v0", "--split", "test", "--family", "flaky_api")
    assert code == 0 and len(out.splitlines()) == 67
    code, one, _ = run("list", "ReCall/SynTool.flaky_api-2-h206-v0", "--split", "test")
    assert code == 0 and one.count("\n") == 1 and one in out


def test_show_keeps_source_and_truth_until_they_are_asked_for(run, tasks_file):
    code, out, _ = run("show", "ReCall/SynTool.shop-1-v0", "--dataset", tasks_file)
    assert code == 0 and "add(item: string, count: integer (optional)): add." in out and "25" not in out
    code, out, _ = run("show", "ReCall/SynTool.shop-1-v0", "--dataset", tasks_file, "--truth", "--source", "--json")
    shown = json.loads(out)
    assert shown["ground_truth"] == ["25"] and shown["solution"][1]["name"] == "total" and "PRICES" in shown["source"]


def test_play_prints_the_episode_on_stdout_and_the_result_on_stderr(run, tasks_file):
    code, out, err = run("play", "ReCall/SynTool-v0", "gold", "--dataset", tasks_file)
    assert code == 0 and out.count("assistant, turn") == 3
    assert '\n  add(item="lamp", count=2)\n    ok  {"basket": ["lamp", "lamp"]}\n' in out
    assert "\n  total()\n    ok  25.0\n" in out and "answer  25  right\n" in out
    assert re.search(r"^answer +1 +1$", out, re.MULTILINE) and re.search(r"^total +1$", out, re.MULTILINE)
    assert "\x1b" not in out  # no terminal
    assert err == "answer: reward 1, answer '25', 3 turns\n"
    code, out, _ = run("play", "ReCall/SynTool.shop-2-v0", "gold", "--dataset", tasks_file, "--json")
    assert json.loads(out)["info"]["task_id"] == "shop-2"


def test_gold_that_is_not_rewarded_exits_1(run, tmp_path, make_task):
    path = tmp_path / "wrong.jsonl"
    path.write_text(json.dumps(make_task(ground_truth=("26",)).to_row()))
    code, _, err = run("play", "ReCall/SynTool-v0", "gold", "--dataset", path)
    assert code == 1 and "reward 0" in err


def test_play_by_hand_reads_turns_up_to_an_empty_line(run, tasks_file):
    turns = '<tool_call>\n{"name": "get_price", "arguments": {"item": "lamp"}}\n</tool_call>\n\nSo\n\\boxed{25}\n\n'
    code, out, err = run("play", "ReCall/SynTool-v0", "hand", "--dataset", tasks_file, stdin=turns)
    assert code == 0 and '  get_price(item="lamp")\n    ok  12.5\n' in out and "reward 1" in err
    assert "  get_price(item: string)" in out and out.count("What do two lamps cost?") == 1
    code, _, err = run("play", "ReCall/SynTool-v0", "hand", "--dataset", tasks_file)
    assert code == 2 and err.endswith("recall-env: the episode was left: no turn came from stdin\n")


def test_play_by_hand_takes_calls_as_they_are_shown(run, tasks_file):
    turns = 'add(item="lamp", count=2)\n\ntotl()\n\ntotal()\n\n\\boxed{25}\n\n'
    code, out, err = run("play", "ReCall/SynTool-v0", "hand", "--dataset", tasks_file, "--json", stdin=turns)
    assert code == 0 and json.loads(out)["reward"] == 1.0  # what the person reads goes to stderr then
    assert "unknown_tool  no tool 'totl'; did you mean 'total'?" in err and "total()\n    ok  25.0" in err


def test_new_prints_the_folder_on_stdout_and_what_to_type_next(run, tmp_path):
    code, out, err = run("new", "lamp_shop", "--folder", tmp_path / "here")
    assert code == 0 and out == f"{tmp_path / 'here'}\n"
    assert f"recall-env check {tmp_path / 'here'}\n" in err
    assert (tmp_path / "here" / "src" / "lamp_shop" / "tasks.jsonl").is_file()


def test_eval_prints_a_table_and_writes_every_episode(run, tasks_file, tmp_path):
    output = tmp_path / "result.json"
    arguments = ("ReCall/SynTool-v0", "gold", "--dataset", tasks_file, "-n", 4, "-k", 2, "--output", output)
    code, out, err = run("eval", *arguments)
    assert code == 0
    assert re.search(r"^all +8 +1\.000 +\[0\.676, 1\.000\]$", out, re.MULTILINE)
    assert "void: 0 infra, 0 environment errors; sandbox nsjail" in out
    assert "episodes: 8/8, success 1.000" in err
    record = json.loads(output.read_text())
    assert record["n"] == 4 and record["k"] == 2 and len(record["episodes"]) == 8
    code, out, _ = run("eval", *arguments[:4], "-n", 1, "--json")
    assert json.loads(out)["overall"]["success"] == 1.0


@pytest.mark.parametrize(
    ("option", "value", "field"), [("--time-budget", 1e-6, "time_budget_s"), ("--text-budget", 9, "text_budget")]
)
def test_a_budget_ends_an_episode_and_stands_in_the_result(run, tasks_file, tmp_path, option, value, field):
    result, one = tmp_path / "result.json", tmp_path / "one.jsonl"
    words = ("ReCall/SynTool-v0", "gold", "--dataset", tasks_file, option, value, "--output")
    assert run("eval", *words, result, "-n", 2)[0] == 0
    record = json.loads(result.read_text())
    assert record["settings"][field] == value and record["overall"]["successes"] == 0
    assert {(one["termination"], one["turns"]) for one in record["episodes"]} == {("budget", 1)}
    assert run("play", *words, one)[2] == "budget: reward 0, answer None, 1 turns\n"
    for file in (one, result.with_suffix(".jsonl")):
        assert json.loads(file.read_text().splitlines()[0])["origin"][field] == value
        assert run("replay", file)[0] == 0


@pytest.mark.parametrize("words", [("list", "syntool"), ("play", "ReCall/SynTool-v0", "gold", "--seed", "3")])
def test_a_reader_that_goes_away_is_no_error(words):
    process = subprocess.Popen(
        [sys.executable, "-m", "recall_env", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    process.stdout.close()
    with process.stderr as err:
        said = err.read()
    assert process.wait(60) == 0 and "Traceback" not in said and "Exception ignored" not in said


def test_ctrl_c_stops_an_evaluation_with_a_word_and_130_and_leaves_no_half_a_file(tmp_path, tasks_file, shared_jail):
    words = ("eval", "ReCall/SynTool-v0", "gold", "--dataset", str(tasks_file), "-k", "100000", "--output", "r.json")
    process = subprocess.Popen(
        [sys.executable, "-m", "recall_env", *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        # A shell's background job ignores SIGINT, and so does all that it starts; a person's command does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        while not (tmp_path / "r.partial").exists() or not (tmp_path / "r.partial").stat().st_size:  # some have ended
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, err) == (130, "", "recall-env: stopped\n")
    assert [path.name for path in tmp_path.iterdir()] == [tasks_file.name]


def test_doctor_prints_every_check_and_exits_0_where_tools_can_be_jailed(run):
    code, out, _ = run("doctor")
    assert code == 0 and out.count("ok  ") + out.count("FAIL") == len(diagnose())
    code, out, _ = run("doctor", "--json")
    assert json.loads(out)[-1] == {**json.loads(out)[-1], "name": "jail", "ok": True}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lits"], "No such command 'lits'. Did you mean 'list'?"),
        (["list", "syntol"], "no dataset 'syntol'; did you mean 'syntool'?"),
        (["list", "FILE", "--family", "shp"], "no family 'shp'; did you mean 'shop'?"),
        (["list", "FILE", "--difficulty", "9"], "no difficulty '9'"),
        (["list", "FILE", "--calls", "4-2"], "--calls: expected a number or LOW-HIGH, as in 2-4, got '4-2'"),
        (["list", "--grep", "x"], "--grep: of which data set?"),
        (["show", "ReCall/SynTol-v0", "--dataset", "FILE"], "did you mean 'ReCall/SynTool-v0'?"),
        (["show", "CartPole-v1", "--dataset", "FILE"], "CartPole-v1 is no environment of ReCall"),
        (["play", "ReCall/SynTool-v0", "glod", "--dataset", "FILE"], "no agent 'glod'; did you mean 'gold'?"),
        (["play", "ReCall/SynTool-v0", "gold", "--dataset", "FILE", "--index", "9"], "there is no index 9"),
        (["play", "ReCall/SynTool-v0", "gold", "--dataset", "FILE", "--max-turns", "0"], "'--max-turns'"),
        (["play", "ReCall/SynTool-v0", "gold", "--dataset", "FILE", "--time-budget", "0"], "time_budget_s: expected"),
        (["eval", "ReCall/SynTool-v0", "gold", "--dataset", "FILE", "--text-budget", "-1"], "text_budget: expected"),
        (["play", "ReCall/SynTool-v0", "gold", "--dataset", "FILE", "--sandbox", "none"], "no sandbox 'none'"),
        (["eval", "ReCall/SynTool-v0", "--dataset", "FILE"], "--base-url URL and --model NAME"),
        (["eval", "ReCall/SynTool-v0", "gold", "--dataset", "FILE", "--jsn"], "No such option: --jsn"),
        (["eval"], "Missing argument"),
        (["new", "1st"], "'1st' is no name for a package"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(run, tasks_file, arguments, words):
    code, out, err = run(*[tasks_file if argument == "FILE" else argument for argument in arguments])
    assert code == 2 and out == ""
    assert words in err and err.startswith("recall-env: ") and err.count("\n") == 1


@pytest.mark.parametrize("command", ["show", "play", "eval"])
def test_a_set_without_tasks_is_one_line(run, tmp_path, command):
    (tmp_path / "empty.jsonl").write_text("")
    agent = [] if command == "show" else ["gold"]
    code, out, err = run(command, "ReCall/SynTool-v0", *agent, "--dataset", tmp_path / "empty.jsonl")
    assert code == 2 and out == "" and "holds no task" in err and err.count("\n") == 1


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_the_help_of_every_command_has_an_example(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0 and f"recall-env {command}" in " ".join(out.split("Example:", 1)[1].split()).replace(
        "recall- env", "recall-env"
    )


def test_an_evaluation_is_replayed_and_rescored_from_the_file_beside_it(run, tasks_file, tmp_path):
    episodes = tmp_path / "result.jsonl"
    arguments = ("ReCall/SynTool-v0", "gold", "--dataset", tasks_file, "-n", 3, "--output", tmp_path / "result.json")
    assert run("eval", *arguments)[2].endswith(f"next: recall-env replay {episodes}\n")
    code, out, err = run("replay", episodes)
    assert (code, out, err) == (0, "", "3 equal, 0 differ, 0 void and not replayed\n")
    episodes.write_text(episodes.read_text().replace('"value": 25.0', '"value": 26.0', 1))
    code, out, err = run("replay", episodes)
    assert code == 1 and err == "2 equal, 1 differ, 0 void and not replayed\n"
    assert out == (
        "result.jsonl line 1: task shop-0, seed 0\n  differs at turn 2, tool_calls[0].value, byte 1\n"
        "    stored    2>>>6.0\n    replayed  2>>>5.0\n"
    )
    code, out, _ = run("replay", episodes, "--index", 0, "--json")
    assert code == 1 and json.loads(out)["difference"]["byte"] == 1
    code, out, err = run("rescore", episodes, "--rubric", "recall")
    assert code == 0 and len(out.splitlines()) == 4 and "mean reward 1.0000 -> 0.0000; 3 changed, 0 not scored" in err
    code, out, err = run("rescore", episodes, "--json")
    assert [json.loads(line)["new"] for line in out.splitlines()] == [1.0, 1.0, 1.0] and "0 changed" in err


def test_a_played_episode_is_replayed_from_its_file(run, tasks_file, tmp_path):
    assert run("play", "ReCall/SynTool-v0", "gold", "--dataset", tasks_file, "--output", tmp_path / "one.jsonl")[0] == 0
    assert run("replay", tmp_path / "one.jsonl")[0] == 0


def test_a_rubric_of_ones_own_is_a_file_and_stands_in_the_result(run, tasks_file, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text('answer = {weight = 0.5, part = "Exact"}\nfew = {weight = 0.5, part = "Budget", calls = 1}\n')
    code, out, _ = run("play", "ReCall/SynTool-v0", "gold", "--dataset", tasks_file, "--rubric", mine, "--json")
    assert code == 0 and json.loads(out)["info"]["score"]["values"] == {"answer": 1.0, "few": 0.0}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["replay", "none.jsonl"], "none.jsonl: cannot be read"),
        (["rescore", "none.jsonl", "--rubric", "anser"], "no rubric 'anser'; did you mean 'answer'?"),
        (["rescore", "none.jsonl", "--ask", "anew"], "--ask needs --rubric"),
        (["eval", "ReCall/SynTool-v0", "gold", "--output", "x.jsonl"], "give the result a name that ends in .json"),
        (["play", "ReCall/SynTool-v0", "gold", "--output", "no/x.jsonl"], "there is no folder no"),
    ],
)
def test_a_mistake_about_files_of_episodes_is_one_line(run, arguments, words):
    code, out, err = run(*arguments)
    assert code == 2 and out == "" and words in err and err.count("\n") == 1
