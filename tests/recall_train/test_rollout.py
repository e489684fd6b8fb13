"""Trajectories out of real environments and jails, with scripted turns: the invariants of DESIGN section 7."""

import json
import random
from collections import Counter

import gymnasium as gym
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recall_env.env import SynToolEnv
from recall_env.episode_file import origin_of, read_episodes
from recall_env.errors import RecallError, SandboxFailure
from recall_env.replay import replay_file
from recall_env.rescore import rescore_file
from recall_env.rubric import RUBRICS
from recall_env.taskset import TaskSet
from recall_env.vector import EnvPool
from recall_train.engine.scripted import ScriptedEngine
from recall_train.ranks import Ranks
from recall_train.rollout import Play, Rollout, check_infra, collect_groups, has_variance, mix_seed
from recall_train.trajectory import Trajectory, TrajectoryFile, read_trajectories

CALL = '<tool_call>\n{"name": "get_price", "arguments": {"item": "lamp"}}\n</tool_call>'
BAD_CALL = '<tool_call>\n{"name": "get_price", "arguments": {"item": 3}}\n</tool_call>'
ORIGIN = origin_of(SynToolEnv(max_turns=4), None)
RIGHT, WRONG = "The answer is \\boxed{12}", "The answer is \\boxed{13}"


def turn_ids(tokens, text):
    return [*tokens.tokenizer.encode(text, add_special_tokens=False), tokens.tokenizer.eos_token_id]


def make_rollout(tokens, make_env, reply, *, size=4, deterministic=True, max_context=900, max_turn_tokens=120):
    engine = ScriptedEngine(reply, max_context=max_context, stop_ids=tokens.stop_ids)
    pool = EnvPool(make_env, size=size, workers=2)
    rollout = Rollout(
        engine, pool, tokens, max_turn_tokens=max_turn_tokens, temperature=1.0, deterministic=deterministic
    )
    return rollout, pool


def scripted(tokens, turns_of_seed):
    """reply(request): the turn that turns_of_seed(session) has at this point of its episode."""
    taken = Counter()

    def reply(request):
        turn = turns_of_seed(request.session)[taken[request.session]]
        taken[request.session] += 1
        return turn_ids(tokens, turn)

    return reply


@given(
    episodes=st.lists(st.lists(st.sampled_from([CALL, BAD_CALL]), max_size=5), min_size=1, max_size=6),
    deterministic=st.booleans(),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_trajectories_are_append_only_and_aligned(tokens, make_env, price_task, episodes, deterministic):
    prompts = {}

    def turns(session):
        return [*episodes[int(session.split(".")[1])], RIGHT]

    scripted_reply = scripted(tokens, turns)

    def reply(request):
        earlier = prompts.get(request.session, ())
        assert request.prompt_ids[: len(earlier)] == earlier, "a prompt does not begin with the whole history"
        ids = scripted_reply(request)
        prompts[request.session] = (*request.prompt_ids, *ids)
        return ids

    rollout, pool = make_rollout(tokens, make_env, reply, deterministic=deterministic)
    with pool:
        plays = [Play(price_task, 0, i, 7, i) for i in range(len(episodes))]
        played = sorted(rollout.play(plays), key=lambda t: t.sample)
    assert len(played) == len(episodes)
    for trajectory, calls in zip(played, episodes, strict=True):
        assert len(trajectory.ids) == len(trajectory.sampled) == len(trajectory.logprobs)
        assert tuple(trajectory.ids[: trajectory.turns[-1].stop]) == prompts[f"0.{trajectory.sample}"]
        inside = [turn.start <= i < turn.stop for i in range(len(trajectory.ids)) for turn in trajectory.turns]
        assert sum(inside) == sum(trajectory.sampled)
        assert all(all(trajectory.sampled[turn.start : turn.stop]) for turn in trajectory.turns)
        if len(calls) >= 4:
            assert trajectory.status == "max_turns" and not trajectory.success
        else:
            assert trajectory.status == "answer" and trajectory.success and trajectory.reward == 1.0


def test_tool_output_is_never_trained_on(tokens, make_env, price_task):
    rollout, pool = make_rollout(tokens, make_env, scripted(tokens, lambda s: [CALL, RIGHT]))
    with pool:
        (trajectory,) = rollout.play([Play(price_task, 0, 0, 1, 1)])
    trained = tokens.tokenizer.decode([i for i, s in zip(trajectory.ids, trajectory.sampled, strict=True) if s])
    assert trained == f"{CALL}<|im_end|>{RIGHT}<|im_end|>"
    context = tokens.tokenizer.decode([i for i, s in zip(trajectory.ids, trajectory.sampled, strict=True) if not s])
    assert '{"price":12,"calls":1}' in context


def test_each_trajectory_has_tools_of_its_own(tokens, make_env, price_task):
    rollout, pool = make_rollout(tokens, make_env, scripted(tokens, lambda s: [CALL, CALL, RIGHT]))
    with pool:
        played = list(rollout.play([Play(price_task, 0, i, 1, i) for i in range(6)]))
    for trajectory in played:
        assert [call["value"]["calls"] for call in trajectory.tool_calls] == [1, 2]


def test_every_call_is_timed_once_and_by_itself(tokens, make_env, price_task):
    rollout, pool = make_rollout(tokens, make_env, scripted(tokens, lambda s: [CALL, BAD_CALL, CALL, RIGHT]))
    with pool:
        list(rollout.play([Play(price_task, 0, i, 1, i) for i in range(3)]))
    assert len(rollout.stats.call_s) == 6  # a refused call never reaches the jail
    assert all(0 < seconds < 5 for seconds in rollout.stats.call_s)


def test_a_turn_cut_at_its_budget_ends_the_trajectory_without_a_call(tokens, make_env, price_task):
    rollout, pool = make_rollout(tokens, make_env, scripted(tokens, lambda s: [CALL]), max_turn_tokens=5)
    with pool:
        (trajectory,) = rollout.play([Play(price_task, 0, 0, 1, 1)])
    assert trajectory.status == "length"
    assert trajectory.reward == 0.0 and not trajectory.tool_calls


def test_a_full_context_ends_the_trajectory(tokens, make_env, price_task):
    start = len(tokens.start(*opening(price_task)))
    turn = len(turn_ids(tokens, CALL))
    rollout, pool = make_rollout(tokens, make_env, scripted(tokens, lambda s: [CALL] * 3), max_context=start + turn + 3)
    with pool:
        (trajectory,) = rollout.play([Play(price_task, 0, 0, 1, 1)])
    assert trajectory.status == "context"


def opening(task):
    from recall_env.dialect import DIALECTS

    hermes = DIALECTS["hermes"]
    return hermes.start(task), hermes.template_tools(task)


def test_groups_without_variance_are_followed_by_fresh_ones_up_to_the_limit(tokens, make_env, price_task):
    drawn = []

    def draw(number):
        drawn.append(number)
        return price_task

    def turns(session):
        group, sample = map(int, session.split("."))
        return [RIGHT if group < 2 or sample else WRONG]

    rollout, pool = make_rollout(tokens, make_env, scripted(tokens, turns))
    with pool:
        groups = collect_groups(rollout, draw, tasks=3, group_size=3, seed=1, max_refills=5)
    assert drawn == [0, 1, 2, 3, 4]
    assert [has_variance(group) for group in groups] == [False, False, True, True, True]
    assert [[t.sample for t in group] for group in groups] == [[0, 1, 2]] * 5


def test_collecting_twice_from_one_rollout_starts_clean(tokens, make_env, price_task):
    rollout, pool = make_rollout(tokens, make_env, scripted(tokens, lambda s: [CALL, RIGHT]))
    with pool:
        plays = rollout.play([Play(price_task, 0, i, 1, i) for i in range(8)])
        next(plays)
        plays.close()
        assert rollout.engine.inflight == 0 and pool.pending == 0
        again = list(rollout.play([Play(price_task, 1, i, 1, i) for i in range(8)]))
    assert len(again) == 8 and all(t.success for t in again)


def test_an_error_in_the_middle_of_a_collection_leaves_nothing_in_flight(tokens, make_env, price_task):
    def stop(trajectory):
        raise InterruptedError

    rollout, pool = make_rollout(tokens, make_env, scripted(tokens, lambda s: [CALL, RIGHT]))
    with pool:
        with pytest.raises(InterruptedError) as caught:  # holds the traceback, and so every frame of the collection
            collect_groups(rollout, lambda number: price_task, tasks=3, group_size=3, seed=1, on_end=stop)
        assert caught.traceback and rollout.engine.inflight == 0 and pool.pending == 0


class BrokenEnv(gym.Env):
    """Stands for an environment whose jail cannot be had."""

    def reset(self, *, seed=None, options=None):
        raise SandboxFailure("the jail is gone")


def test_an_infra_failure_is_void_and_past_the_limit_stops_the_run(tokens, price_task):
    rollout, pool = make_rollout(tokens, BrokenEnv, scripted(tokens, lambda s: [RIGHT]))
    with pool:
        played = list(rollout.play([Play(price_task, 0, i, 1, i) for i in range(3)]))
    assert [t.status for t in played] == ["infra"] * 3
    assert not any(t.valid for t in played) and not has_variance(played)
    with pytest.raises(RecallError, match=r"100% .* the jail is gone"):
        check_infra(played, 0.05, Ranks())
    check_infra(played, 1.0, Ranks())


def test_a_bug_in_an_environment_is_not_taken_for_an_infra_failure(tokens, price_task):
    class Buggy(BrokenEnv):
        def reset(self, seed=None, options=None):
            raise KeyError("typo")

    rollout, pool = make_rollout(tokens, Buggy, scripted(tokens, lambda s: [RIGHT]))
    with pool, pytest.raises(KeyError):
        list(rollout.play([Play(price_task, 0, 0, 1, 1)]))


def test_a_trajectory_file_gives_back_what_was_written(tmp_path):
    trajectory = Trajectory("a", 1, 2, 3, family="f")
    trajectory.add_context([1, 2])
    trajectory.add_turn([3, 4], [-0.25, -1e-7], 5, "stop")
    with TrajectoryFile(tmp_path / "t.jsonl", origin=ORIGIN) as file:
        file.write(trajectory)
    assert read_trajectories(tmp_path / "t.jsonl") == [trajectory]


@pytest.mark.parametrize("text", ["\u2028", "\x85", "\ud800", "\U0001f4a1", "\n"])
def test_a_trajectory_file_holds_any_text_that_a_tool_may_return(tmp_path, text):
    trajectory = Trajectory("a", 0, 0, 0, tool_calls=[{"value": f"one{text}line"}])
    with TrajectoryFile(tmp_path / "t.jsonl", origin=ORIGIN) as file:
        file.write(trajectory)
    assert read_trajectories(tmp_path / "t.jsonl") == [trajectory]


def test_a_trajectory_file_that_was_not_finished_is_absent(tmp_path):
    with pytest.raises(ZeroDivisionError), TrajectoryFile(tmp_path / "t.jsonl", origin=ORIGIN):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_seeds_of_different_parts_differ():
    rng = random.Random(0)
    parts = {tuple(rng.randrange(1000) for _ in range(3)) for _ in range(2000)}
    assert len({mix_seed(*p) for p in parts}) == len(parts)
    assert mix_seed(1, 2, 3) == mix_seed(1, 2, 3) < 2**63


def test_a_trajectory_file_is_an_episode_file_that_replays_and_rescores(tokens, make_env, price_task, tmp_path):
    tasks = tmp_path / "price.jsonl"
    tasks.write_text(json.dumps(price_task.to_row()))
    origin = origin_of(make_env(), TaskSet.load(tasks))
    episodes = {"0.0": [CALL, RIGHT], "0.1": [BAD_CALL] * 4, "0.2": [CALL, "long " * 200], "0.3": [WRONG]}
    rollout, pool = make_rollout(tokens, make_env, scripted(tokens, episodes.get))
    with pool, TrajectoryFile(tmp_path / "t.jsonl", origin=origin) as file:
        for trajectory in rollout.play([Play(price_task, 0, i, 7, i) for i in range(4)]):
            file.write(trajectory)
    statuses = {record.status for _, record in read_episodes(tmp_path / "t.jsonl")}
    assert statuses == {"answer", "max_turns", "length"}
    assert [one.outcome for one in replay_file(tmp_path / "t.jsonl")] == ["equal"] * 4
    found = list(rescore_file(tmp_path / "t.jsonl"))
    assert [one.new for one in found] == [one.old for one in found] and sum(one.old for one in found) == 1.0
    progress = [one.new for one in rescore_file(tmp_path / "t.jsonl", RUBRICS["progress"])]
    assert sorted(progress) == [0.0, 0.0, 0.0, 1.0]
