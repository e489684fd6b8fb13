"""Stored episodes played again in a real jail: the same bytes, or the first one that is not."""

import json
from dataclasses import replace

import pytest

from recall_env.agent import GoldAgent, RandomAgent, TurnRefused
from recall_env.dialect import DIALECTS
from recall_env.env import SynToolEnv
from recall_env.episode_file import EpisodeRecord, LinesFile, Transcript, origin_of, read_episodes, record
from recall_env.errors import RecallError
from recall_env.evaluate import Settings, evaluate
from recall_env.play import play
from recall_env.replay import first_difference, replay, replay_file
from recall_env.rubric import Exact, Rubric, StateEquals
from recall_env.taskset import TaskSet


def call(name, **arguments):
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments}, ensure_ascii=False)}\n</tool_call>"


class Script:
    """Plays these turns."""

    def __init__(self, *turns):
        self.turns = list(turns)

    def act(self, messages, tools):
        turn = self.turns.pop(0)
        if isinstance(turn, Exception):
            raise turn
        return turn


TURNS = (
    call("add", item="lamp", count=2) + call("draw") + "<tool_call>{oops}</tool_call>",
    call("shout", text="caf\u00e9 \U0001f4a1") + call("get_price", item="sofa"),
    "\\boxed{25}",
)


def entry(name, arguments, id="a"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


MESSAGES = (
    json.dumps({"role": "assistant", "tool_calls": [entry("draw", "{}"), entry("add", "{oops", "b"), entry("", 1, 2)]}),
    json.dumps({"role": "assistant", "content": [{"text": "\ud800"}], "tool_calls": [entry("draw", "")]}),
    "\\boxed{25}",
)


def stored(task, jail, *turns, tasks=None, **settings) -> EpisodeRecord:
    env, transcript = SynToolEnv(sandbox=jail, **settings), Transcript()
    try:
        play(env, Script(*turns), task, 5, transcript)
    finally:
        env.close()
    return EpisodeRecord.from_json(record(task, 5, origin_of(env, tasks), transcript).to_json())


def written(path, *records):
    with LinesFile(path) as file:
        for one in records:
            file.write(one.to_json())
    return path


@pytest.mark.parametrize("dialect", list(DIALECTS))
def test_an_episode_played_again_is_the_same_in_every_byte(task, jail, dialect):
    turns = MESSAGES if DIALECTS[dialect].takes_messages else TURNS
    one = stored(task, jail, *turns, call("submit_answer", answer="25"), dialect=dialect)
    again = replay(one, task, jail)
    assert first_difference(one, again) is None
    assert replace(again, origin=one.origin) == one and one.actions == list(turns)


def test_messages_differ_at_an_id_and_at_a_call_that_was_mended_for_the_endpoint(task, jail):
    one = stored(task, jail, *MESSAGES, dialect="openai")
    assert json.loads(one.messages[2]["tool_calls"][1]["function"]["arguments"]) == {}
    assert [call["status"] for call in one.tool_calls] == ["ok", "parse_error", "parse_error", "ok"]
    for change, field in (
        (set_in("messages", 4, "tool_call_id", "c"), "messages[4].tool_call_id"),
        (set_in("tool_calls", 1, "call_id", "c"), "tool_calls[1].call_id"),
        (set_in("written", 0, MESSAGES[0].replace("oops", "ooops")), "action"),
    ):
        assert first_difference(changed(one, change), one).field == field


@pytest.mark.parametrize(
    ("settings", "calls"), [({"text_budget": 100}, 2), ({"time_budget_s": 1e-9}, 1), ({"max_turns": 2}, 2)]
)
def test_an_episode_that_ran_out_of_a_budget_does_so_again(task, jail, settings, calls):
    one = stored(task, jail, *[call("total")] * 3, **settings)
    assert one.status == ("max_turns" if "max_turns" in settings else "budget") and len(one.tool_calls) == calls
    assert first_difference(one, replay(one, task, jail)) is None
    slower = changed(one, set_in("origin", "time_budget_s", 1e-9))  # the clock's word is the file's
    assert first_difference(slower, replay(slower, task, jail)) is None


def test_a_file_of_eval_replays_whole_and_says_how_many(tasks, shared_jail, tmp_path):
    with LinesFile(tmp_path / "e.jsonl") as file:
        evaluate(
            TaskSet([replace(task, schemas=task.schemas[:5]) for task in tasks]),
            RandomAgent,
            agent="random",
            k=3,
            settings=Settings(max_turns=4),
            on_record=lambda one: file.write(one.to_json()),
        )
    found = list(replay_file(tmp_path / "e.jsonl"))
    assert len(found) == 18 and {one.outcome for one in found} == {"equal"} and found[4].line == 5
    assert not any(one.notes for one in found)
    assert [one.line for one in replay_file(tmp_path / "e.jsonl", index=7)] == [8]
    with pytest.raises(RecallError, match=r"e\.jsonl holds no episode 18; they count from 0"):
        list(replay_file(tmp_path / "e.jsonl", index=18))


def changed(one: EpisodeRecord, change) -> EpisodeRecord:
    row = json.loads(one.to_json())
    change(row)
    return EpisodeRecord.from_json(json.dumps(row))


def set_in(*path_and_value):
    *path, last, value = path_and_value

    def change(row):
        for key in path:
            row = row[key]
        row[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "turn", "field", "byte"),
    [
        (set_in("messages", 1, "content", "What do two lamqs cost?"), 0, "messages[1].content", 15),
        (set_in("tool_calls", 0, "value", {"basket": ["lamp", "lamb"]}), 1, "tool_calls[0].value", 24),
        (set_in("tool_calls", 1, "value", 0.25), 1, "tool_calls[1].value", 2),
        (set_in("tool_calls", 2, "status", "ok"), 1, "tool_calls[2].status", 0),
        (set_in("tool_calls", 3, "stdout", "caf\u00e9 \U0001f4a2\n"), 2, "tool_calls[0].stdout", 9),
        (set_in("tool_calls", 3, "value", "CAF\u00c9"), 2, "tool_calls[0].value", 5),
        (set_in("tool_calls", 4, "error", "message", "'sofb'"), 2, "tool_calls[1].error", 37),
        (set_in("messages", 3, "role", "user"), 1, "messages[3].role", 0),
        (set_in("messages", 7, "content", "{}"), 2, "messages[7].content", 1),
        (set_in("answer", "26"), 3, "answer", 1),
        (set_in("score", "valid_calls", 0.7), 3, "score.valid_calls", 2),
        (set_in("reward", 0.0), 3, "reward", 0),
        (set_in("success", False), 3, "success", 0),
        (lambda row: row["tool_calls"].pop(1), 1, "tool_calls[1].name", 0),
        (lambda row: row["tool_calls"].pop(), 2, "tool_calls[1].name", None),
        (lambda row: row["tool_calls"].append({**row["tool_calls"][4], "index": 2}), 2, "tool_calls[2].name", None),
        (lambda row: row["score"].pop("f1"), 3, "score.f1", None),
    ],
)
def test_a_planted_difference_is_found_at_its_byte(task, jail, change, turn, field, byte):
    found = first_difference(
        changed(stored(task, jail, *TURNS), change), replay(stored(task, jail, *TURNS), task, jail)
    )
    assert (found.turn, found.field, found.byte) == (turn, field, byte)


def test_both_sides_are_shown_around_the_byte(task, jail):
    one = stored(task, jail, call("shout", text="x" * 100 + "a" + "y" * 100), "\\boxed{1}")
    other = changed(one, set_in("tool_calls", 0, "value", "X" * 100 + "\u00e9" + "Y" * 100))
    found = first_difference(other, one)
    assert found.byte == 100 and found.stored == f"...{'X' * 40}>>>\\xe9{'Y' * 38}..."
    assert found.replayed == f"...{'X' * 40}>>>A{'Y' * 39}..."


def test_an_episode_that_now_ends_elsewhere_differs_there(task, make_task, jail):
    longer = stored(task, jail, call("total"), call("total"), "\\boxed{25}")
    shorter = changed(longer, set_in("origin", "max_turns", 2))
    found = first_difference(shorter, replay(shorter, task, jail))
    assert (found.turn, found.field, found.replayed) == (3, "action", None)
    assert first_difference(longer, replay(longer, task, jail)) is None


def test_a_task_that_has_changed_is_said_first(make_task, jail, tmp_path):
    before, after = make_task(), make_task(question="What do three lamps cost?")
    path = tmp_path / "shop.jsonl"
    path.write_text(json.dumps(before.to_row()))
    one = stored(before, jail, "\\boxed{25}", tasks=TaskSet.load(path))
    assert one.row is None and one.origin.dataset == str(path)
    path.write_text(json.dumps(after.to_row()))
    (found,) = replay_file(written(tmp_path / "e.jsonl", one), sandbox=jail)
    assert found.changed_task == after.content_hash and found.difference.field == "messages[1].content"
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps(before.to_row()))
    (found,) = replay_file(tmp_path / "e.jsonl", sandbox=jail, dataset=str(other))
    assert found.outcome == "equal"
    path.unlink()
    with pytest.raises(RecallError, match=r"no file or folder .*; say where it is: --dataset"):
        list(replay_file(tmp_path / "e.jsonl", sandbox=jail))


def test_an_episode_the_endpoint_cut_short_is_played_as_far_as_it_went(task, jail, tmp_path):
    env, transcript = SynToolEnv(sandbox=jail), Transcript()
    with pytest.raises(TurnRefused):
        play(env, Script(call("draw"), TurnRefused("too long")), task, 5, transcript)
    env.close()
    one = record(task, 5, origin_of(env, None), transcript, status="refused", fault="too long")
    assert len(one.actions) == 1
    (found,) = replay_file(written(tmp_path / "e.jsonl", one), sandbox=jail)
    assert found.outcome == "equal"
    worse = changed(one, set_in("tool_calls", 0, "value", 0.5))
    (found,) = replay_file(written(tmp_path / "e.jsonl", worse), sandbox=jail)
    assert found.difference.field == "tool_calls[0].value"


def test_what_was_lost_when_it_was_recorded_is_not_played(task, jail, tmp_path):
    one = stored(task, jail, "\\boxed{25}")
    lost = [replace(one, status=status, fault="x") for status in ("infra", "env_error")]
    found = list(replay_file(written(tmp_path / "e.jsonl", *lost), sandbox=jail))
    assert [one.outcome for one in found] == ["void", "void"]


def test_final_states_and_their_rubric_come_back_from_the_file(make_task, jail):
    source = make_task().source + "\ndef final_state():\n    return basket\n"
    task = make_task(source=source, final_state=["lamp"])
    rubric = Rubric({"answer": (0, Exact()), "state": (1, StateEquals())})
    one = stored(task, jail, call("add", item="lamp"), "\\boxed{1}", rubric=rubric)
    assert one.reward == 1.0 and first_difference(one, replay(one, task, jail)) is None
    found = first_difference(changed(one, set_in("final_state", "final_state", "value", ["lamb"])), one)
    assert (found.field, found.byte) == ("final_state.final_state.value", 5)


def test_a_file_chooses_neither_sandbox_nor_services(task, jail, tmp_path):
    one = stored(task, jail, "\\boxed{25}")
    one = replace(one, origin=replace(one.origin, sandbox="unsafe", services=["search"], python="2.7"))
    (found,) = replay_file(written(tmp_path / "e.jsonl", one))
    assert found.outcome == "equal"
    assert found.notes[0] == "recorded with sandbox unsafe, replayed with nsjail"
    assert found.notes[1].startswith("recorded with python 2.7, replayed with 3.")


@pytest.mark.parametrize("text", ["\u2028", "\x85", "\ud800", "\U0001f4a1\n"])
def test_a_file_holds_any_text_an_agent_or_a_tool_may_write(task, jail, tmp_path, text):
    one = stored(task, jail, call("shout", text="a") + text, f"\\boxed{{{text}}}")
    odd = replace(one, tool_calls=[{**one.tool_calls[0], "value": text}])
    path = written(tmp_path / "e.jsonl", one, odd)
    assert path.read_bytes().isascii() and [found for _, found in read_episodes(path)] == [one, odd]
    assert [found.outcome for found in replay_file(path, sandbox=jail)] == ["equal", "differs"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: not an episode: it has no messages"),
        ('{"messages": []}', "an episode of format None; this version reads 1"),
        ('{"format": 1, "messages": []}', r"not a whole episode \(KeyError: 'origin'\)"),
    ],
)
def test_a_line_that_is_no_episode_is_named(task, jail, tmp_path, line, words):
    path = tmp_path / "e.jsonl"
    path.write_text(f"\n{line}\n")
    with pytest.raises(RecallError, match=words):
        list(read_episodes(path))
    with pytest.raises(RecallError, match="cannot be read"):
        list(read_episodes(tmp_path / "none.jsonl"))


@pytest.mark.parametrize(
    "change",
    [
        set_in("messages", 0, "content", None),
        set_in("tool_calls", 0, "turn", "1"),
        set_in("env_seed", None),
        set_in("origin", "dialect", "klingon"),
        lambda row: row["origin"].pop("max_turns"),
        lambda row: row.pop("status"),
    ],
)
def test_an_episode_with_a_wrong_part_is_refused_before_it_is_played(task, jail, change):
    with pytest.raises(RecallError):
        changed(stored(task, jail, call("total"), "\\boxed{25}"), change)


def test_gold_of_a_seed_is_recorded_and_repeated(tasks, jail):
    env = SynToolEnv(sandbox=jail)
    transcript = Transcript()
    play(env, GoldAgent(tasks[0]), tasks[0], 3, transcript)
    env.close()
    one = record(tasks[0], 3, origin_of(env, tasks), transcript)
    assert one.success and one.row is not None and first_difference(one, replay(one, tasks[0], jail)) is None
