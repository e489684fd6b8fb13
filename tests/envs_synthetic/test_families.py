"""The families: what every drafted task is like, in this process and, for a sample, in the jail."""

import functools
import json
import re

import pytest

from envs_synthetic.families import FAMILIES, HELD_OUT
from envs_synthetic.generate import TRAIN_FAMILIES, generate
from envs_synthetic.play import Trusted
from envs_synthetic.verify import expected_failures, soundness
from recall_env.check.gold_calls import leaves, mentions, replay
from recall_env.schema import function_of
from recall_env.task import Task

by_family = pytest.mark.parametrize("family", sorted(FAMILIES))


@functools.cache
def drawn(family: str, count: int = 14) -> list[Task]:
    """Tasks of 2 to 8 calls, training and held-out in turn."""
    return [generate(s, family=family, n_calls=(2 + s % 7,) * 2, held_out=s % 2 == 1) for s in range(count)]


def test_there_are_eight_families_and_two_are_held_out():
    assert len(FAMILIES) == 8
    assert set(HELD_OUT) == {"table_join", "graph_walk"}
    assert set(TRAIN_FAMILIES) == set(FAMILIES) - set(HELD_OUT)


@by_family
def test_a_task_takes_exactly_the_calls_that_were_asked_for(family):
    for seed, task in enumerate(drawn(family)):
        assert task.n_calls == len(task.solution.calls) == 2 + seed % 7
        assert task.family == family


@by_family
def test_the_answer_stands_verbatim_in_the_last_result_and_the_last_call_succeeds(family):
    for task in drawn(family):
        results = replay(task, Trusted())
        assert results[-1].ok
        assert any(mentions(text, task.ground_truth[0]) for text in leaves(results[-1].value))


@by_family
def test_prompts_stay_short(family):
    for task in drawn(family):
        assert len(task.question.split()) <= 55
        assert 1 <= len(task.schemas) <= 5
        for tool in map(function_of, task.schemas):
            assert len(tool["description"].split()) <= 9
            for parameter in tool["parameters"]["properties"].values():
                assert len(parameter.get("description", "").split()) <= 5
        for result in replay(task, Trusted()):
            assert len(json.dumps(result.value)) <= 160


@by_family
def test_numbers_are_short_enough_to_be_copied(family):
    for task in drawn(family):
        texts = [task.ground_truth[0]]
        texts += [text for call in task.solution.calls for text in leaves(call.arguments, keys=False)]
        for text in texts:
            if re.fullmatch(r"-?\d+(\.\d+)?", text):
                whole, _, rest = text.partition(".")
                assert len(whole.lstrip("-")) <= 5 and len(rest) <= 2 and rest not in ("0", "00")


@by_family
def test_seeds_differ_in_names_questions_and_code_not_only_in_constants(family):
    tasks = [generate(seed, family=family) for seed in range(30)]
    tool_names = {task.tool_names for task in tasks}
    skeletons = {re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "_", task.source) for task in tasks}
    openings = {" ".join(task.question.split()[:2]) for task in tasks}
    assert len(tool_names) >= 20
    assert len(skeletons) >= 28
    assert len(openings) >= 6


@by_family
def test_a_wrong_argument_is_told_in_words(family):
    told = []
    for task in drawn(family):
        session = Trusted().open(task.source, state=task.state)
        for tool in map(function_of, task.schemas):
            fits = {"string": "no-such-thing", "integer": -3, "number": -3, "array": []}
            properties = tool["parameters"]["properties"]
            arguments = {name: fits[part["type"]] for name, part in properties.items()}
            if any(part["type"] == "string" for part in properties.values()):
                told.append(session.call(tool["name"], arguments))
        session.close()
    assert all(result.ok or len(result.error_message.split()) >= 3 for result in told)
    assert sum(not result.ok for result in told) >= len(told) / 2


def test_flaky_tools_fail_as_often_as_declared_and_then_work():
    for seed in range(10):
        task = generate(seed, family="flaky_api", n_calls=(4, 6))
        failures = expected_failures(task)
        results = replay(task, Trusted())
        assert any(failures)
        assert [result.status == "tool_error" for result in results] == failures
        for result, failed in zip(results, failures, strict=True):
            assert not failed or "temporarily unavailable" in result.error_message


@by_family
def test_a_sample_is_proved_in_the_jail(family, shared_jail):
    for seed in (501, 502):
        task = generate(seed, family=family, n_calls=(2, 5), held_out=family in HELD_OUT)
        assert soundness(task, shared_jail) == []
        assert replay(task, shared_jail) == replay(task, Trusted())
