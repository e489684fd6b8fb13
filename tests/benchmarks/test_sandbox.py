"""The sandbox's measures at tiny sizes: their form, their baselines, and that a missed goal is called one."""

import http.client
import importlib
import io
import json
import math
import os
import subprocess

import pytest
from rich.console import Console

from benchmarks import suite
from benchmarks.sandbox import (
    calls,
    clients,
    drop_in,
    floors,
    hang,
    live,
    neighbour,
    plots,
    servers,
    soak,
    spawn,
    tools,
)
from benchmarks.sandbox.cores import CORES, FIRST, on
from benchmarks.sandbox.driver import Driven, median_round
from benchmarks.sandbox.figures import Claim, Figure, Measured, percentile
from benchmarks.sandbox.measures import MEASURES, apart
from benchmarks.sandbox.report import table, verdict
from recall_env.tool_call import ToolResult

main = importlib.import_module("benchmarks.sandbox.__main__")

TINY = {
    "calls": calls.Size(duration_s=0.05, rounds=2, warm_s=0.02, in_flight=(1, 4), clients=(1,), floor_n=20),
    "live": live.Size(first=12, steps=(4, 12), batch=4, duration_s=0.05),
    "spawn": spawn.Size(n=4, cold_n=2),
    "hang": hang.Size(episodes=8, deadline_s=0.4, hang_s=0.2),
    "neighbour": neighbour.Size(spinning=2, duration_s=0.1, warm_s=0.02),
    "http": drop_in.Size(duration_s=0.05, rounds=2, warm_s=0.05),
    "soak": soak.Size(calls=400, episodes=40, threads=3, kill_every_s=0.02, sample_every_s=0.02),
}


@pytest.fixture(scope="module")
def measured():
    """Each measure, made once and in a process of its own: the soak kills every jail it finds below it."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = apart(name, TINY[name])
        return made[name]

    return get


def test_there_is_a_tiny_size_of_every_measure():
    assert TINY.keys() == MEASURES.keys()


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_has_figures_with_units_and_claims_that_are_held_to_goals(measured, name):
    found = measured(name)
    assert found.figures and all(isinstance(figure, Figure) for figure in found.figures.values())
    assert all(math.isfinite(figure.value) and isinstance(figure.unit, str) for figure in found.figures.values())
    assert any(claim.goal is not None for claim in found.claims)
    assert len({claim.what for claim in found.claims}) == len(found.claims)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["claims"]


def test_calls_are_held_against_the_best_rate_of_recalls_server(measured):
    found = measured("calls")
    theirs = [
        figure.value for name, figure in found.figures.items() if name.startswith("ReCall") and "keep-alive" in name
    ]
    fresh = next(claim for claim in found.claims if claim.what.endswith("fresh") and claim.goal)
    assert fresh.baseline == pytest.approx(max(theirs), rel=1e-3) and fresh.ratio == fresh.value / fresh.baseline
    assert fresh.goal == 5.0 and found.series["in flight"] == [1, 4]


def test_memory_is_read_at_every_step_of_growth(measured):
    found = measured("live")
    assert found.series["live"] == [4, 12] and all(mb > 0 for mb in found.series["pss_mb"] + found.series["charged_mb"])


def test_growth_stops_before_the_machine_is_full_and_says_so(monkeypatch):
    monkeypatch.setattr(live.process_tree, "available_mb", lambda: live.KEEP_MB - 1.0)
    full = live.obstacle()
    assert full == "1,999 MB of memory are left on this machine"
    answers = iter([None, full])
    monkeypatch.setattr(live, "obstacle", lambda: next(answers))
    monkeypatch.setattr(live, "warm", lambda pool: None)  # it waits for every episode of this process to end
    found = Measured()
    (point,) = live._grow(live.Size(steps=(4, 8), batch=2, duration_s=0.02), found)
    assert point.live == 2 and found.notes == [f"stopped growing at 2 live: {full}"]


def test_all_hung_episodes_are_seen_to_go(measured):
    series = measured("hang").series
    for way in hang.WAYS.values():
        assert series[f"{way}, left"][-1] == 0 and series[f"{way}, ms"][-1] > 0


def test_a_soak_accounts_for_every_call_though_its_episodes_are_killed(measured):
    found = measured("soak")
    assert found.figures["calls"].value == 400
    assert sum(found.figures[f"kills, {kind}"].value for kind in ("episode", "zygote", "nsjail")) > 0
    assert [claim.value for claim in found.claims if claim.unit == "calls"] == [0, 0, 0], found.notes
    assert found.figures["left"].value == 0


class Parrot:
    """A pool and its only session, which answers every call with its answer to the first."""

    def open(self, source, seed):
        return self

    def call(self, name, arguments):
        return ToolResult("ok", {"token": "1.0", "seen": ["1.0"]})

    def close(self): ...


def test_a_reply_of_another_call_is_found():
    tally = soak.Tally()
    assert soak._episode(Parrot(), 1, 0, 3, tally) == 2
    assert tally.calls == 2 and len(tally.wrong) == 1 and "1.1" in tally.wrong[0]


def test_cold_jails_and_forks_are_floors_of_the_same_program():
    assert len(floors.cold_start(1)) == 1 and len(floors.bare_fork(3)) == 3
    namespace: dict = {}
    exec(tools.SOURCE, namespace)
    assert namespace[tools.NAME](**tools.ARGUMENTS) == tools.VALUE == eval(tools.CALL_TEXT, namespace)


def test_recalls_server_answers_as_recalls_does():
    env = "import math\ncount = 0\ndef f(x):\n    global count\n    count += 1\n    print('in', x)\n    return x"
    with servers.recall_server(FIRST) as port:

        def answer(call):
            return clients.keep_alive(port, {"env": env, "call": call, "timeout": 3})()

        assert answer("f(41) + 1") == {"output": "in 41\n", "result": 42, "error": None}
        for falsy in (0, False, "", []):  # kept: it is the client that drops them
            assert answer(f"f({falsy!r})")["result"] == falsy
        assert answer("f(1) and count")["result"] == 1 == answer("f(1) and count")["result"], "nothing is kept"
        assert answer("{1}")["result"] == [1] and answer("math.nan")["result"] is None
        assert answer("f(1, 2)")["error"].startswith("TypeError: ")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", "/execute", json.dumps({"env": "", "call": "exit()"}), clients.HEADERS)
        assert connection.getresponse().status == 500


def test_the_table_says_what_is_met_missed_and_not_there():
    claims = [
        Claim("fast", 11.0, "calls/s", 2.0, "theirs", "at least", 5.0, "ratio"),
        Claim("slow", 9.0, "calls/s", 2.0, "theirs", "at least", 5.0, "ratio"),
        Claim("late", 351.0, "ms", goal=350.0),
        Claim("absent", None, "calls/s", 2.0, "theirs", "at least", 2.5, "ratio"),
        Claim("told", 1.0, "ms"),
    ]
    assert [verdict(claim) for claim in claims] == ["met", "missed", "missed", "not there", "-"]
    said = io.StringIO()
    Console(file=said, width=160).print(table(claims, "a title"))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.getvalue().splitlines() if "│" in line]
    assert rows[0] == ["fast", "11 calls/s", "2 (theirs)", "5.50x", ">= 5x", "met"]
    assert rows[1] == ["slow", "9 calls/s", "2 (theirs)", "4.50x", ">= 5x", "missed"]
    assert rows[2] == ["late", "351 ms", "-", "-", "<= 350 ms", "missed"]
    assert rows[3][-1] == "not there" and rows[4] == ["told", "1 ms", "-", "-", "-", "-"]


def test_what_a_thread_starts_is_pinned_with_it():
    with on(FIRST):
        assert subprocess.check_output(["nproc"], text=True).strip() == "1"
    assert os.sched_getaffinity(0) == set(CORES)


def test_of_several_rounds_the_middle_one_counts():
    rounds = iter([Driven(1.0, [0.1] * 5), Driven(1.0, [0.1]), Driven(1.0, [0.1] * 3)])
    assert median_round(3, lambda: next(rounds)).rate == 3.0


def test_percentiles_are_of_the_nearest_rank():
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0 and percentile([1.0], 99) == 1.0


def test_a_partial_run_keeps_the_figures_of_the_other_measures(measured, tmp_path):
    def entry(name, commit):
        return {name: {"commit": commit, **measured(name).to_json()}}

    main.SUITE.write(entry("soak", "a") | entry("calls", "a"), tmp_path, tmp_path)
    main.SUITE.write(entry("hang", "b") | entry("calls", "b") | entry("live", "b"), tmp_path, tmp_path)
    record = json.loads((tmp_path / "sandbox.json").read_text())["measures"]
    assert {name: measure["commit"] for name, measure in record.items()} == {
        "calls": "b", "live": "b", "hang": "b", "soak": "a",
    }  # fmt: skip
    assert {file.name for file in tmp_path.glob("*.png")} == {f"sandbox_{name}.png" for name in plots.PLOTS}


def test_the_command_measures_writes_and_ends_in_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(spawn, "QUICK", TINY["spawn"])
    code = main.main(["spawn", "--quick", "--out", str(tmp_path)])
    said = capsys.readouterr()
    written = json.loads((tmp_path / "sandbox.json").read_text())["measures"]["spawn"]
    assert written["command"].startswith("python -m benchmarks.sandbox spawn --quick") and written["size"]["n"] == 4
    assert written["figures"]["bare fork, p50"]["unit"] == "ms" and written["hardware"] and written["commit"]
    assert [line for line in said.out.splitlines() if "isolated spawn to first answer" in line and "<= 3x" in line]
    missed = any(claim["met"] is False for claim in written["claims"])
    assert code == int(missed) and ("missed" in said.out) == missed


def test_a_measure_that_breaks_is_said_and_the_others_go_on(monkeypatch, capsys):
    monkeypatch.setattr(suite, "apart", lambda module, name, size: {}[name])
    assert main.main(["spawn", "hang", "--quick"]) == 1
    assert "spawn  broke: KeyError" in (said := capsys.readouterr().err) and "hang  broke: KeyError" in said


def test_a_measure_that_does_not_exist_is_asked_wrongly(capsys):
    with pytest.raises(SystemExit) as exit_:
        main.main(["speed"])
    assert exit_.value.code == 2 and "no measure speed" in capsys.readouterr().err
