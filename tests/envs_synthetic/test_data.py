"""The shipped tasks: counts, splits that share nothing, a card that tells the truth, and rows a seed gives again."""

import json
from pathlib import Path

import pytest

import envs_synthetic.data
from envs_synthetic.build import SPLITS, Slot, content_keys, plan
from envs_synthetic.card import counts
from envs_synthetic.families import HELD_OUT
from envs_synthetic.generate import generate
from envs_synthetic.lexicon import LISTS
from envs_synthetic.verify import soundness
from recall_env.taskset import TaskSet

FOLDER = Path(envs_synthetic.data.__path__[0])


@pytest.fixture(scope="module")
def shipped() -> dict[str, list]:
    return {name: list(TaskSet.load("syntool", name)) for name in SPLITS}


def test_every_split_holds_the_tasks_it_promises(shipped):
    assert {name: len(tasks) for name, tasks in shipped.items()} == {"train": 3000, "test": 400, "test_families": 200}


def test_held_out_families_are_in_their_own_split_only(shipped):
    assert {task.family for task in shipped["test_families"]} == set(HELD_OUT)
    for name in ("train", "test"):
        assert {task.family for task in shipped[name]} == set(SPLITS[name].families)


def test_no_source_and_no_question_is_shipped_twice(shipped):
    keys = [key for tasks in shipped.values() for task in tasks for key in content_keys(task)]
    assert len(keys) == len(set(keys))
    ids = [task.id for tasks in shipped.values() for task in tasks]
    assert len(ids) == len(set(ids))


def test_people_who_meet_in_a_held_out_question_never_met_in_training(shipped):
    people = set(LISTS["person"])

    def pairs(tasks):
        met = [sorted(people & set(task.question.replace("'s", "").replace(",", "").split())) for task in tasks]
        return {(a, b) for names in met for a in names for b in names if a < b}

    assert pairs(shipped["test"]) and not pairs(shipped["train"]) & pairs(shipped["test"])


def test_half_of_the_training_tasks_need_two_or_three_calls_and_some_need_eight(shipped):
    calls = [task.n_calls for task in shipped["train"]]
    assert 0.55 <= sum(n <= 3 for n in calls) / len(calls) <= 0.65
    assert set(calls) == set(range(2, 9))


def test_rows_are_given_again_by_their_seed(shipped):
    for name, tasks in shipped.items():
        slots: list[Slot] = plan(SPLITS[name], SPLITS[name].n, 0, (2, 8))
        for at in range(0, len(tasks), len(tasks) // 8):
            slot = slots[at]
            again = generate(
                slot.seed, family=slot.family, n_calls=(slot.n_calls, slot.n_calls), held_out=slot.held_out
            )
            if tasks[at].id == again.id:  # else the slot was filled by a later seed
                assert again.to_row()["extra_info"] == {
                    key: value for key, value in tasks[at].to_row()["extra_info"].items() if value is not None
                }
                assert again.question == tasks[at].question


def test_a_sample_of_the_shipped_rows_is_sound_in_the_jail(shipped, shared_jail):
    for tasks in shipped.values():
        for task in tasks[:: len(tasks) // 4]:
            assert soundness(task, shared_jail) == []


def test_the_card_counts_what_is_shipped():
    card = (FOLDER / "README.md").read_text()
    assert "license: apache-2.0" in card
    for name in SPLITS:
        file = FOLDER / f"syntool-{name}.parquet"
        assert counts(file) in card
        assert f"| {file.name} | {len(TaskSet.load(file))} | {file.stat().st_size} |" in card


def test_rows_say_their_licence_and_keep_the_truth_out_of_the_tools_schemas(shipped):
    for task in shipped["test"]:
        assert task.license == "Apache-2.0"
        assert task.ground_truth[0] not in json.dumps(list(task.schemas))
