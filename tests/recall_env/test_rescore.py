"""Stored episodes under a rubric, without a jail."""

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from chat_endpoint import Endpoint, said
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recall_env.dialect import DIALECTS
from recall_env.env import SynToolEnv
from recall_env.episode_file import EpisodeRecord, LinesFile, Transcript, origin_of, record
from recall_env.errors import RecallError
from recall_env.play import play
from recall_env.rescore import rescore, rescore_file
from recall_env.rubric import (
    F1,
    RUBRICS,
    Budget,
    Exact,
    Format,
    Gate,
    LLMJudge,
    Numeric,
    Rubric,
    SetMatch,
    StateEquals,
    ToolUsed,
    Weighted,
    part,
)
from recall_env.rubric.judge import forget_verdicts


@part(bounds=(0, 1e9))
@dataclass(frozen=True)
class LettersOfCalls:
    """Reads of an episode what the file does not hold as it is: a call's own text."""

    def __call__(self, episode):
        return sum(len(call.raw) + len(call.error or "") for call, _ in episode.results)


EVERYTHING = Rubric(
    {
        "answer": (0.5, Exact()),
        "near": (0.1, Numeric()),
        "f1": (0.1, F1()),
        "set": (0.1, SetMatch(partial=True)),
        "state": (0.5, StateEquals()),
        "good": (0.2, Gate(Format("calls"), Weighted({"few": (1, Budget(calls=2)), "added": (1, ToolUsed("add"))}))),
        "letters": (0.001, LettersOfCalls()),
    }
)
CALLS = (
    '{"name": "add", "arguments": {"item": "lamp"}}',
    '{"name": "add", "arguments": {"item": "sofa", "count": 2.0}}',
    '{"name": "get_price", "arguments": {"item": 3}}',
    '{"name": "nothing", "arguments": "{}"}',
    '{"name": "shout", "arguments": {"text": "\ud800 caf\u00e9"}}',
    "{oops}",
)


def judged(url):
    return Rubric({"answer": (0, Exact()), "judge": (1, LLMJudge(url, "m", retries=0))})


def written(path, *records):
    with LinesFile(path) as file:
        for one in records:
            file.write(one.to_json())
    return path


def played(task, jail, turns, **settings) -> EpisodeRecord:
    left = iter(turns)

    class Script:
        def act(self, messages, tools):
            return next(left)

    env, transcript = SynToolEnv(sandbox=jail, **settings), Transcript()
    try:
        play(env, Script(), task, 5, transcript)
    finally:
        env.close()
    return EpisodeRecord.from_json(record(task, 5, origin_of(env, None), transcript).to_json())


@given(
    turns=st.lists(st.lists(st.sampled_from(CALLS), min_size=1, max_size=3), max_size=3),
    last=st.sampled_from(["\\boxed{25}", "\\boxed{24.9}", "no", "\\boxed{a, 25}", "\ud800 \\boxed{\ud800}"]),
    thought=st.sampled_from(["", "<think>so</think>"]),
    rubric=st.sampled_from([EVERYTHING, *RUBRICS.values()]),
    dialect=st.sampled_from(["hermes", "submit", "openai", "recall", "recall-inference"]),
    budget=st.sampled_from([None, 300]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_rubric_gives_a_stored_episode_the_same_score(
    make_task, jail, turns, last, thought, rubric, dialect, budget
):
    if dialect.startswith("recall") and rubric is EVERYTHING:
        dialect = "hermes"
    source = make_task().source + "\ndef final_state():\n    return basket\n"
    task = make_task(source=source, final_state=["lamp"])
    texts = [turn_of(thought, calls, dialect) for calls in turns]
    limits = {"max_turns": 3, "text_budget": budget}
    one = played(task, jail, [*texts, thought + last], rubric=rubric, dialect=dialect, **limits)
    assert one.status in ("answer", "max_turns", "budget") and (budget or one.status != "budget")
    score = rescore(one, task, rubric)
    assert (score.total, score.values) == (one.reward, one.score)
    (line,) = rescore_lines(one, None)
    assert (line.old, line.new, line.values) == (one.reward, one.reward, one.score)


def turn_of(thought, calls, dialect):
    if not DIALECTS[dialect].takes_messages:
        return thought + "".join(f"<tool_call>{call}</tool_call>" for call in calls)
    entries = [
        {"id": f"c{number}", "function": {"name": name, "arguments": call[call.find("arguments") + 12 : -1]}}
        for number, call in enumerate(calls)
        for name in [call.split('"')[3] if '"' in call else None]
    ]
    return json.dumps({"role": "assistant", "content": thought, "tool_calls": entries})


def rescore_lines(one, rubric, **options):
    with tempfile.TemporaryDirectory() as folder:
        return list(rescore_file(written(Path(folder) / "e.jsonl", one), rubric, **options))


def test_another_rubric_gives_the_score_that_playing_under_it_would_have_given(task, jail, tmp_path):
    turns = [f"<tool_call>{CALLS[0]}</tool_call>", "\\boxed{24}"]
    one, other = (played(task, jail, turns, rubric=name) for name in ("answer", "progress"))
    path = written(tmp_path / "e.jsonl", one, replace(one, status="length", reward=0.0))
    found = list(rescore_file(path, RUBRICS["progress"]))
    assert (found[0].old, found[0].new, found[0].values) == (one.reward, other.reward, other.score)
    assert (found[1].old, found[1].new, found[1].values) == (0.0, 0.0, {})  # no rubric ever saw it


def test_a_state_that_was_not_recorded_cannot_be_scored_and_says_so(task, jail, tmp_path, make_task):
    one = played(make_task(final_state=1), jail, ["\\boxed{25}"])
    (found,) = rescore_file(written(tmp_path / "e.jsonl", one), EVERYTHING)
    assert found.new is None and "recorded without what final_state() returned" in found.fault


def test_judges_answer_from_the_file_unless_they_are_to_be_asked(task, jail, tmp_path):
    verdicts = [said(json.dumps({"score": score})) for score in (0.25, 0.5, 0.75)]
    with Endpoint(*verdicts) as endpoint:
        forget_verdicts()
        rubric = judged(endpoint.url)
        one = played(task, jail, ["\\boxed{25}"], rubric=rubric)
        plain = played(task, jail, ["\\boxed{25}"])
        path = written(tmp_path / "e.jsonl", one, plain)
        forget_verdicts()
        assert [found.new for found in rescore_file(path, rubric)] == [0.25, None]
        assert [found.new for found in rescore_file(path, rubric, ask="missing")] == [0.25, 0.5]
        assert [found.new for found in rescore_file(path, rubric, ask="anew")] == [0.75, 0.75]
        assert len(endpoint.requests) == 3
        with pytest.raises(RecallError, match="--ask needs --rubric"):
            next(rescore_file(path, None, ask="missing"))
        with pytest.raises(RecallError, match="ask: expected one of never, missing, anew"):
            next(rescore_file(path, rubric, ask="always"))


def test_thousands_of_lines_are_read_one_at_a_time(task, jail, tmp_path):
    line = played(task, jail, ["\\boxed{25}"]).to_json()
    path = tmp_path / "e.jsonl"
    path.write_text(f"{line}\n" * 3000 + "broken\n")
    lines = rescore_file(path, RUBRICS["progress"])
    assert next(lines).new == 0.6
    with pytest.raises(RecallError, match="line 3001: not JSON"):
        assert sum(1 for _ in lines) == 0


def test_a_truth_that_was_mended_is_what_counts_and_is_said(make_task, jail, tmp_path):
    one = played(make_task(ground_truth=("26",)), jail, ["\\boxed{25}"])
    mended = tmp_path / "mended.jsonl"
    mended.write_text(json.dumps(make_task().to_row()))
    path = written(tmp_path / "e.jsonl", one)
    assert [(found.new, found.changed_task) for found in rescore_file(path)] == [(0.0, False)]
    assert [(found.new, found.changed_task) for found in rescore_file(path, dataset=str(mended))] == [(1.0, True)]
