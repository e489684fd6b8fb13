"""Scoring many episodes: success and its interval; faults apart."""

import json
import threading

import pytest

from recall_env.agent import AgentFailure, GoldAgent, RandomAgent, TurnRefused
from recall_env.commands.eval import table
from recall_env.env import SynToolEnv
from recall_env.errors import RecallError
from recall_env.evaluate import Settings, Tally, evaluate, wilson_interval
from recall_env.play import play
from recall_env.taskset import TaskSet


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962), (1, 1, 0.2065, 1.0), (0, 0, 0.0, 1.0)],
)
def test_the_interval_is_wilsons(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=1e-4)


@pytest.fixture
def settings(shared_jail):
    return Settings(max_turns=5)


def test_gold_succeeds_everywhere_and_the_record_says_how_it_was_played(tasks, settings):
    seen = []
    result = evaluate(
        tasks, GoldAgent, agent="gold", k=2, seed=3, concurrency=4, settings=settings, on_episode=seen.append
    )
    assert result.overall == Tally(12, 12, 1.0, *wilson_interval(12, 12))
    assert {name: tally.episodes for name, tally in result.families.items()} == {"shop": 6, "stall": 6}
    assert result.mean_reward == 1.0 and result.infra == result.env_errors == 0
    record = json.loads(result.to_json())
    assert record["settings"]["sandbox"] == "nsjail" and record["seed"] == 3 and len(record["episodes"]) == 12
    assert len(seen) == 12 and len({one.seed for one in seen}) == 12


def test_an_evaluation_is_its_seed(tasks, settings, make_task):
    quick = TaskSet([make_task(i, schemas=make_task().schemas[:5]) for i in range(4)])
    one, two = (evaluate(quick, RandomAgent, agent="random", k=2, seed=1, settings=settings) for _ in range(2))
    assert one == two and one.overall.success < 1.0


def test_results_and_records_are_the_same_bytes_whatever_the_concurrency(tasks, settings, make_task):
    quick = TaskSet([make_task(i, schemas=make_task().schemas[:5]) for i in range(5)])

    def played(concurrency):
        lines = []
        result = evaluate(
            *(quick, RandomAgent), agent="random", k=3, concurrency=concurrency, settings=settings,
            on_record=lambda whole: lines.append(whole.to_json()),
        )  # fmt: skip
        return result.to_json(), lines

    one, many = played(1), played(11)
    assert one == many and [json.loads(line)["env_seed"] for line in one[1]] == list(range(15))


def test_200_turns_are_written_at_once_and_played_in_jails(settings, make_task):
    meeting = threading.Barrier(200)

    class Slow(GoldAgent):
        def act(self, messages, tools):
            if len(messages) == 2:
                meeting.wait(60)
            return super().act(messages, tools)

    result = evaluate(TaskSet([make_task()]), Slow, agent="x", k=200, concurrency=200, settings=settings)
    assert result.overall.successes == 200


def test_faults_that_are_not_the_agents_leave_the_rate_and_are_counted(tasks, settings, make_task):
    class Sometimes(GoldAgent):
        def act(self, messages, tools):
            if self.task_id == "shop-1":
                raise AgentFailure("the endpoint is gone")
            return super().act(messages, tools)

    def agent_of(task, seed, dialect):
        agent = Sometimes(task, seed, dialect)
        agent.task_id = task.id
        return agent

    broken = make_task(7, source="import nothing_like_it")
    result = evaluate(TaskSet([*tasks, broken]), agent_of, agent="x", settings=settings)
    assert (result.overall.episodes, result.overall.successes) == (5, 5)
    assert (result.infra, result.env_errors) == (1, 1)
    faults = {one.task_id: (one.fault, one.fault_text) for one in result.episodes if one.fault}
    assert faults["shop-1"] == ("infra", "the endpoint is gone")
    assert faults["shop-7"][0] == "env" and "nothing_like_it" in faults["shop-7"][1]


def test_the_first_fault_of_all_stops_all(tasks, settings):
    played = []

    class Refused:
        def act(self, messages, tools):
            played.append(1)
            raise RecallError("HTTP 401: bad key")

    with pytest.raises(RecallError, match="bad key"):
        evaluate(TaskSet(list(tasks) * 20), lambda *_: Refused(), agent="x", settings=settings, concurrency=2)
    assert len(played) < 20


def test_a_turn_the_endpoint_refuses_is_a_failure_of_its_episode(tasks, settings):
    class Overlong(GoldAgent):
        def act(self, messages, tools):
            if len(messages) > 4:
                raise TurnRefused("HTTP 400: maximum context length")
            return super().act(messages, tools)

    result = evaluate(tasks, Overlong, agent="x", settings=settings)
    refused = [one for one in result.episodes if one.termination == "refused"]
    assert refused and not any(one.success for one in refused) and result.infra == 0
    assert result.overall.episodes == len(tasks) and "refused a turn, the first: HTTP 400" in table(result)


def test_a_thought_the_model_opens_itself_is_opened_once(task, jail):
    class Thinker:
        def act(self, messages, tools):
            return f"<think>so</think> \\boxed{{{task.ground_truth[0]}}}"

    env = SynToolEnv(tasks=TaskSet([task]), sandbox=jail, dialect="recall", rubric="recall")
    messages, _, reward = play(env, Thinker(), task, seed=0)
    env.close()
    assert reward == 1.0 and messages[-1]["content"].count("<think>") == 1
