"""recall-env check finds every planted defect by the check that is there for it; what is sound raises no alarm."""

from dataclasses import asdict, replace
from multiprocessing import resource_tracker

import planted
import pytest
import sound

from envs_synthetic.families import FAMILIES, HELD_OUT
from envs_synthetic.generate import TRAIN_FAMILIES
from recall_env.check.bench import Settings
from recall_env.check.checks import CHECKS, chosen
from recall_env.check.player import Players
from recall_env.check.run import Verdict, check, check_task
from recall_env.errors import RecallError
from recall_env.rubric import RUBRICS
from recall_env.sandbox import JailPool
from recall_env.task import Solution, Task
from recall_env.taskset import TaskSet

SETTINGS = Settings()


@pytest.fixture(scope="module")
def players():
    settings = asdict(SETTINGS)
    players = Players({key: settings[key] for key in ("dialect", "rubric", "max_turns", "sandbox", "services")})
    players.play(sound.BADGES, 30)
    yield players
    players.close()


@pytest.fixture(scope="module")
def pool():
    pool = JailPool(shards=1)
    pool.open("").close()
    yield pool
    pool.close()


def verdict_of(one: planted.Planted, pool, players, monkeypatch) -> Verdict:
    settings = SETTINGS
    if one.rubric is not None:
        monkeypatch.setitem(RUBRICS, "planted", one.rubric)
        settings, players = replace(SETTINGS, rubric="planted"), None  # the players know our rubrics alone
    if one.pool is not None:
        pool, players = one.pool(), None
    return check_task(one.task, pool, settings, players)


def alarms(task: Task, pool, players) -> list[str]:
    found = check_task(task, pool, SETTINGS, players)
    assert set(found.checks.values()) == {"ok"} or found.findings
    return [f"{task.id}: {finding.check}: {finding.text}" for finding in found.findings]


@pytest.mark.parametrize("defect", planted.PLANTED)
def test_a_planted_defect_is_found_by_its_check(defect, pool, players, monkeypatch):
    one = planted.PLANTED[defect]
    verdict = verdict_of(one, pool, players, monkeypatch)
    assert (one.check, one.severity) in {(f.check, f.severity) for f in verdict.findings}, verdict.findings
    assert verdict.checks[one.check] == ("failed" if one.severity == "error" else "warning")
    assert verdict.sound == all(f.severity == "warning" for f in verdict.findings)


@pytest.mark.parametrize("task", sound.SOUND, ids=lambda task: task.id)
def test_what_the_defects_were_planted_in_is_sound(task, pool, players):
    assert alarms(task, pool, players) == []


def test_every_check_has_a_planted_defect_and_there_are_forty():
    assert {one.check for one in planted.PLANTED.values()} == set(CHECKS)
    assert len(planted.PLANTED) >= 40
    errors = {one.check for one in planted.PLANTED.values() if one.severity == "error"}
    assert errors == {name for name, check in CHECKS.items() if check.severity == "error"}


def shipped(split: str, each: int) -> TaskSet:
    """So many tasks of every family of a shipped split, evenly spaced."""
    tasks = TaskSet.load("syntool", split)
    families = sorted({task.family for task in tasks})
    assert families == sorted(HELD_OUT if split == "test_families" else TRAIN_FAMILIES)
    return TaskSet([task for family in families for task in tasks.select([family]).spread(each)], split)


def test_no_alarm_on_a_shipped_task_of_each_family(pool, players):
    tasks = [*shipped("test", 1), *shipped("test_families", 1)]
    assert {task.family for task in tasks} == set(FAMILIES)
    assert [alarm for task in tasks for alarm in alarms(task, pool, players)] == []


@pytest.fixture(scope="module")
def tracker():
    """multiprocessing's own process, which the first pool starts and which lives as long as this one: no leak."""
    resource_tracker.ensure_running()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("tracker")
@pytest.mark.parametrize("split", ["train", "test", "test_families"])
def test_no_alarm_on_thirty_shipped_tasks_of_each_family_of_each_split(split):
    report = check(shipped(split, 30))
    assert len(report.points) == 30 * (2 if split == "test_families" else 6)
    assert [(point.id, finding) for point, finding in report.findings()] == []


def test_figures_say_how_hard_a_task_is(pool):
    two, one = (check_task(task, pool, SETTINGS).figures for task in (sound.BADGES, sound.ONE_CALL))
    assert (two["n_calls"], two["answer_after"], two["one_call"]) == (2, 2, False)
    assert (one["n_calls"], one["answer_after"], one["one_call"]) == (1, 1, True)
    assert two["mutants"]["of"] == two["mutants"]["constants"] and 0 < two["mutants"]["killed"] < two["mutants"]["of"]


def test_a_short_answer_that_stands_somewhere_by_chance_is_a_warning(pool):
    source = sound.BADGES_SOURCE.replace("k4711", "12")
    solution = Solution(sound.BADGE_CALLS, "12")
    task = replace(sound.BADGES, source=source, ground_truth=("12",), solution=solution)
    task = replace(task, question=f"{task.question} There are 12 of them.")
    verdict = check_task(task, pool, SETTINGS, names=("leak",))
    assert verdict.sound and [f.severity for f in verdict.findings] == ["warning"]


def test_what_builds_on_a_failed_check_is_skipped_and_the_rest_is_not(pool):
    checks = check_task(planted.PLANTED["a source that raises"].task, pool, SETTINGS).checks
    assert checks["loads"] == "failed" and checks["gold"] == checks["mutation"] == "skipped"
    assert checks["leak"] == checks["gate"] == "ok"


def test_a_task_whose_time_is_over_is_not_proved(pool):
    verdict = check_task(sound.BADGES, pool, replace(SETTINGS, budget_s=1e-9), names=("schema", "loads"))
    assert verdict.checks == {"schema": "ok", "loads": "failed"}
    assert verdict.findings[0].text == "not done: a task has 1e-09 s for all checks"


def test_the_original_dialect_and_rubric_can_be_checked_too(pool):
    names = ("loads", "gold", "outside_text", "rubric", "single_call", "world")
    for dialect in ("recall", "recall-inference"):
        settings = replace(SETTINGS, dialect=dialect, rubric="recall")
        verdict = check_task(sound.BADGES, pool, settings, names=names)
        assert verdict.checks == dict.fromkeys(names, "ok"), verdict.findings
    text = check_task(replace(sound.BADGES, extractor="text"), pool, SETTINGS)
    assert text.findings == ()
    submit = check_task(sound.BADGES, pool, replace(SETTINGS, dialect="submit"))
    assert submit.findings == ()


def test_a_task_of_a_final_state_is_checked_under_the_rubric_that_looks_at_it(tmp_path, pool):
    file = tmp_path / "state.toml"
    file.write_text('[answer]\nweight = 0.5\npart = "Exact"\n\n[state]\nweight = 0.5\npart = "StateEquals"\n')
    settings = replace(SETTINGS, rubric=str(file))
    source = sound.STOCK_SOURCE + "\ndef final_state():\n    return STOCK\n"
    task = replace(sound.STOCK, source=source, final_state={"lamp": 4988, "desk": 7})
    players = Players({"dialect": "hermes", "rubric": str(file), "max_turns": 10, "sandbox": "nsjail", "services": {}})
    try:
        verdict = check_task(task, pool, settings, players)
    finally:
        players.close()
    assert verdict.findings == () and set(verdict.checks.values()) == {"ok"}
    (finding,) = check_task(replace(task, final_state={"lamp": 4988}), pool, settings, names=("gold",)).findings
    assert finding.text == "the gold solution earns 0.5 of 1; below 1: {'state': 0.0}"
    (finding, *_) = check_task(replace(task, source=sound.STOCK_SOURCE), pool, settings, names=("gold",)).findings
    assert "defines no function final_state()" in finding.text


def test_a_dialect_of_messages_is_refused(pool):
    with pytest.raises(RecallError, match="the dialect openai is one of messages"):
        check_task(sound.BADGES, pool, replace(SETTINGS, dialect="openai"))


def test_checks_are_chosen_by_name_in_their_own_order():
    assert chosen(only=["gold", "schema"]) == ("schema", "gold")
    assert "mutation" not in chosen(skip=["mutation"]) and len(chosen()) == len(CHECKS)
    with pytest.raises(RecallError, match=r"no check 'gols'; did you mean 'gold'\?"):
        chosen(only=["gols"])


def test_a_row_that_no_check_foresaw_is_a_finding_and_not_a_crash(pool):
    odd = {"name": "find_owner", "parameters": {"properties": {"item": True}, "required": ["item"]}}
    verdict = check_task(replace(sound.BADGES, schemas=(odd, sound.BADGE)), pool, SETTINGS)
    assert set(verdict.checks) == set(CHECKS) - {"processes"}
    deep = check_task(replace(sound.BADGES, source="x = " + "-" * 50_000 + "1"), pool, SETTINGS)
    assert deep.checks["signature"] == deep.checks["gate"] == "failed" and deep.checks["loads"] == "skipped"
