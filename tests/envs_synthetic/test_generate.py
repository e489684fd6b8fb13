"""generate and the lexicon: determinism, ranges, errors, and words that never meet in both kinds of split."""

import itertools
import os
import random
import subprocess
import sys

import pytest

from envs_synthetic.build import SPLITS, content_keys, plan
from envs_synthetic.families import HELD_OUT
from envs_synthetic.generate import N_CALLS, generate
from envs_synthetic.lexicon import LISTS, WIDTH, Words, grid_line
from recall_env.errors import RecallError
from recall_env.task import Task

PRINT_HASHES = """
from envs_synthetic.families import FAMILIES
from envs_synthetic.generate import generate
for family in [*FAMILIES, None]:
    for seed in (3, 4):
        print(generate(seed, family=family).content_hash)
"""


def test_a_seed_gives_the_same_bytes_in_processes_with_other_hash_seeds():
    runs = [
        subprocess.run(
            [sys.executable, "-c", PRINT_HASHES],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "4242")
    ]
    assert runs[0] == runs[1]
    assert len(set(runs[0].split())) == 18


def test_without_a_family_no_held_out_one_is_drawn():
    assert not {generate(seed, n_calls=(2, 3)).family for seed in range(40)} & set(HELD_OUT)


def test_calls_stay_inside_the_range():
    assert {generate(seed, n_calls=(3, 4)).n_calls for seed in range(20)} == {3, 4}


@pytest.mark.parametrize("calls", [(1, 3), (4, 3), (2, 9)])
def test_a_range_outside_two_to_eight_is_refused(calls):
    with pytest.raises(RecallError, match="inside 2"):
        generate(0, n_calls=calls)


def test_an_unknown_family_names_the_nearest():
    with pytest.raises(RecallError, match="did you mean 'lookup_chain'"):
        generate(0, family="lookup_chains")


def test_a_task_survives_its_row():
    for family in ("flaky_api", "text_search", "lookup_chain"):
        task = generate(5, family=family)
        assert Task.from_row(task.to_row()) == task
        assert Task.from_row(task.to_row()).extra == task.extra


def test_no_two_words_meet_both_in_training_and_in_held_out_tasks():
    for kind, words in LISTS.items():
        lines = {}
        for held_out in (False, True):
            drawn = {tuple(grid_line(kind, random.Random(seed), held_out)) for seed in range(400)}
            lines[held_out] = {pair for line in drawn for pair in itertools.combinations(sorted(line), 2)}
            assert {word for line in drawn for word in line} >= set(words[: WIDTH * WIDTH])
        assert not lines[False] & lines[True]


def test_no_word_is_in_two_lists_or_twice_in_one():
    words = [word.lower() for listed in LISTS.values() for word in listed]
    assert len(words) == len(set(words))


def test_a_task_that_wants_too_many_words_of_a_kind_is_told():
    with pytest.raises(ValueError, match="at most 15 words of kind 'city'"):
        Words(random.Random(0), False).several("city", WIDTH + 1)


def test_a_plan_keeps_the_shares_of_calls_in_every_family():
    slots = plan(SPLITS["train"], 3000, 0, (2, 8))
    for family in SPLITS["train"].families:
        of_family = [slot.n_calls for slot in slots if slot.family == family]
        assert len(of_family) == 500
        for calls, share in N_CALLS.items():
            assert abs(of_family.count(calls) - 5 * share) <= 1


def test_evenly_spaced_rows_hold_every_family():
    slots = plan(SPLITS["train"], 3000, 0, (2, 8))
    for step in (6, 12, 50, 60):
        assert {slot.family for slot in slots[::step]} == set(SPLITS["train"].families)


def test_neither_case_nor_spacing_makes_a_new_question():
    task = generate(1, family="text_search")
    other = Task.from_row({**task.to_row(), "question": "  " + task.question.upper().replace(" ", "  ")})
    assert content_keys(other) == content_keys(task)
