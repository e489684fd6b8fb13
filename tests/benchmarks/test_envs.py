"""The environments' measures at tiny sizes: their form, their baselines, and that every party makes the same call."""

import importlib
import json
import math
import sys
from dataclasses import asdict

import pytest

from benchmarks.envs import memory, recall_loop, steps, tail, task
from benchmarks.envs.__main__ import SUITE
from benchmarks.envs.peers import peer, process
from benchmarks.sandbox import clients
from benchmarks.sandbox.cores import FIRST
from benchmarks.sandbox.servers import recall_server
from benchmarks.suite import apart
from recall_env.dialect import DIALECTS
from recall_env.env import SynToolEnv
from recall_env.tool_call import ToolCall, ToolResult

main = importlib.import_module("benchmarks.envs.__main__")

TINY = {
    "steps": steps.Size(live=(1, 3), recall_live=(1,), turns=2, duration_s=0.01, rounds=1),
    "tail": tail.Size(episodes=12, turns=2, p99_s=0.1, seeds=(3,), concurrency=12),
    "memory": memory.Size(episodes=12),
}


@pytest.fixture(scope="module")
def measured():
    """Each measure, made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = apart(main.SUITE.measures[name], name, TINY[name])
        return made[name]

    return get


def test_there_is_a_tiny_size_of_every_measure():
    assert TINY.keys() == main.SUITE.measures.keys()


@pytest.mark.parametrize("name", ["tail", "memory"])
def test_a_measure_has_figures_with_units_and_claims(measured, name):
    found = measured(name)
    assert found.figures and found.claims and not [claim for claim in found.claims if "left behind" in claim.what]
    assert all(math.isfinite(figure.value) and figure.unit for figure in found.figures.values())
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["claims"]


def test_steps_are_told_of_every_party_and_a_peer_that_is_not_there_meets_no_goal(monkeypatch):
    def unavailable(name, job):
        raise process.PeersUnavailable("pip cannot install anything here")

    monkeypatch.setattr(process, "started", unavailable)
    found = steps.measure(TINY["steps"])
    assert found.notes == ["no peers: pip cannot install anything here"]
    assert {*steps.OURS, *steps.RECALL, "live"} == found.series.keys() and found.series["live"] == [1, 3]
    assert all(figure.value > 0 and figure.unit == "steps/s" for figure in found.figures.values())
    beside_peers = [claim for claim in found.claims if claim.goal == steps.PEER_GOAL]
    assert len(beside_peers) == 2 * 2 and not any(claim.met for claim in beside_peers)
    assert len([claim for claim in found.claims if claim.goal == steps.RECALL_GOAL]) == 2 * len(steps.OURS)


def test_every_party_makes_the_call_of_the_task(jail):
    assert task.JOB.function()(**task.JOB.arguments) == task.JOB.value
    env = SynToolEnv(sandbox=jail)
    env.reset(seed=0, options={"task": task.task()})
    observation, _, terminated, truncated, info = env.step(task.TURN)
    env.close()
    assert observation == task.OBSERVATION and not terminated and not truncated
    assert info["tool_calls"][0]["value"] == task.JOB.value
    with recall_server(FIRST) as port:
        assert recall_loop.loop(port, task.JOB)(2, 2) > 0
        ((raw, code),) = recall_loop._calls(task.TURN)
        answer = clients.post(port, {"env": task.JOB.source, "call": code})()
    assert answer["result"] == task.JOB.value
    ours = DIALECTS["recall"]
    shown = ours.observation(ours.render([(ToolCall(task.JOB.name, {}, raw), ToolResult("ok", answer["result"]))]))
    assert recall_loop._rendered([(raw, answer)]) == shown


def test_a_wrong_answer_is_no_figure():
    peer.expect('{"total": 374.09}', task.JOB)
    with pytest.raises(RuntimeError, match="a call came to 'error'"):
        peer.expect("error", task.JOB)


def test_plays_are_repeated_until_enough_was_timed():
    run = peer.timed(lambda live, turns: 0.25, 3, 2, 1.0)
    assert run == peer.Timed(4 * 6, 1.0) and run.us == pytest.approx(1e6 / 24)


def test_a_peers_script_takes_orders_until_its_input_ends(tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    folder = str(process.HERE)
    script.write_text(
        f"import sys\nsys.path.insert(0, {folder!r})\nimport peer\nprint('noise')\n"
        "peer.answer(lambda job: {'one': lambda live, turns: 0.5, 'broken': lambda live, turns: 1 / 0})\n"
    )
    monkeypatch.setattr(process, "python", lambda: sys.executable)
    monkeypatch.setitem(process.SCRIPTS, "mine", script)
    with process.started("mine", task.JOB) as order:
        assert order("one", 5, 2, 1.0) == peer.Timed(20, 1.0)
        with pytest.raises(RuntimeError, match="mine broke: ZeroDivisionError"):
            order("broken", 1, 1, 1.0)


def test_peers_that_cannot_be_installed_say_so_in_one_line(tmp_path):
    with pytest.raises(process.PeersUnavailable, match=r"pip cannot install .* within reach") as raised:
        process.python(tmp_path / "home", (f"nothing @ file://{tmp_path}/nothing-1-py3-none-any.whl",))
    assert "\n" not in str(raised.value) and not (tmp_path / "home" / "installed.json").exists()


def test_a_job_goes_through_json():
    assert peer.Job(**json.loads(json.dumps(asdict(task.JOB)))) == task.JOB


def test_latencies_have_the_median_and_the_tail_that_were_asked_for_and_repeat():
    size = tail.Size(episodes=4000)
    drawn = sorted(second for row in tail.latencies(5, size) for second in row)
    assert drawn[len(drawn) // 2] == pytest.approx(size.median_s, rel=0.05)
    assert drawn[len(drawn) * 99 // 100] == pytest.approx(size.p99_s, rel=0.15)
    assert tail.latencies(5, size) == tail.latencies(5, size) != tail.latencies(6, size)
    for seed in tail.Size().seeds:
        assert max(map(max, tail.latencies(seed, tail.Size()))) < tail.Size().call_timeout_s


def test_the_ideal_is_the_longest_episode_or_the_shared_work():
    assert tail.ideal([[3.0, 1.0], [1.0, 1.0]], concurrency=2) == 4.0
    assert tail.ideal([[1.0], [1.0], [1.0]], concurrency=1) == 3.0


def test_no_episode_ends_before_its_own_calls_are_over(measured):
    series = measured("tail").series
    for ended, ideal in zip(series["live, EnvPool, ended at s"], series["ideal, ended at s"], strict=True):
        assert ended >= ideal
    assert max(series["live, lock-step, ended at s"]) >= max(series["ideal, ended at s"])


def test_an_episode_that_has_called_weighs_more_than_one_that_has_not(measured):
    figures = measured("memory").figures
    idle, called = (
        figures[f"an episode {state}, in the jails"].value
        for state in ("reset, without a call", "that has called a tool")
    )
    assert called > idle


def test_plots_are_drawn_of_a_record(measured, tmp_path):
    drawn = SUITE.draw({"tail": measured("tail").to_json()}, tmp_path)
    assert [path.name for path in drawn] == ["envs_tail.png"] and drawn[0].stat().st_size > 1000


def test_the_command_measures_writes_and_ends_in_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(memory, "QUICK", TINY["memory"])
    assert main.main(["memory", "--quick", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "envs.json").read_text())["measures"]["memory"]
    assert written["command"].startswith("python -m benchmarks.envs memory --quick") and written["size"] == {
        "episodes": 12
    }
    assert written["hardware"] and written["commit"]
    assert "memory of a live episode that has called a tool" in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit_:
        main.main(["speed"])
    assert exit_.value.code == 2
