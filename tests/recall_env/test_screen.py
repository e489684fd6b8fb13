"""What a person reads of an episode: complete, wrapped to the terminal, and inert whatever models and tools write."""

import io
import os
import pty
import re
import subprocess
import sys
import time

import pytest
from rich.text import Text

from recall_env.agent import GoldAgent
from recall_env.commands.episode_screen import EpisodeScreen, call_text, score_rows, turn_text
from recall_env.commands.hand import typed_call
from recall_env.commands.screen import Screen, signature_text
from recall_env.dialect import DIALECTS
from recall_env.env import SynToolEnv
from recall_env.play import play
from recall_env.rubric import Budget, Exact, Gate, Rubric, Weighted
from recall_env.taskset import TaskSet
from recall_env.terminal import inert

HERMES = DIALECTS["hermes"]
HOSTILE = "a\x1b]0;owned\x07 \x1b[2J\x9b31m \r\x08 [red]b[/red] [link=x]c[/link] :skull: \u202ed \ud800"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A colour terminal of 80 columns."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def shown(terminal, agent, task, pool, **settings):
    """Plays it before the terminal."""
    env = SynToolEnv(tasks=TaskSet([task]), sandbox=pool, **settings)
    try:
        play(env, agent(env.dialect), task, 7, watcher=EpisodeScreen(Screen(terminal), env, task, 7))
    finally:
        env.close()
    return terminal.getvalue()


class Scripted:
    def __init__(self, *turns):
        self.turns = iter(turns)

    def act(self, messages, tools):
        return next(self.turns)


def call(name, **arguments):
    return call_text({"name": name, "arguments": arguments}).plain


def test_a_terminal_gets_roles_calls_statuses_and_scores_in_colour(terminal, task, jail):
    out = shown(terminal, lambda dialect: GoldAgent(task, dialect=dialect), task, jail)
    assert "\x1b[1;35massistant, turn 1\x1b[0m" in out and "\x1b[1;32mok  \x1b[0m25.0" in out
    plain = Text.from_ansi(out).plain
    assert 'add(item="lamp", count=2)' in plain and "answer  25  right" in plain
    assert re.search(r"^answer +1 +1$", plain, re.MULTILINE) and "<tool_call>" not in plain


@pytest.mark.parametrize("dialect", ["hermes", "recall", "openai", "submit"])
def test_calls_are_shown_once_in_every_dialect(terminal, task, jail, dialect):
    out = shown(terminal, lambda dialect: GoldAgent(task, dialect=dialect), task, jail, dialect=dialect)
    plain = Text.from_ansi(out).plain
    assert plain.count('add(item="lamp", count=2)') == 1 and '"item": "lamp"' not in plain
    assert plain.count("    ok  ") == 2


def test_what_has_several_lines_stands_under_its_label(terminal, task, jail):
    turn = HERMES.write_call(typed_call("shout(text='one\\ntwo')"))
    plain = Text.from_ansi(shown(terminal, lambda dialect: Scripted(turn, "\\boxed{25}"), task, jail)).plain
    assert "    ok\n      ONE\n      TWO\n    printed\n      one\n      two\n" in plain


def test_no_line_is_wider_than_the_terminal(terminal, make_task, jail):
    words = "word " * 60
    task = make_task(question=words)
    agent = Scripted(
        f"<think>{words}</think>{words}" + HERMES.write_call(typed_call(f"shout(text={words!r})")), "\\boxed{25}"
    )
    lines = Text.from_ansi(shown(terminal, lambda dialect: agent, task, jail)).plain.splitlines()
    assert max(map(len, lines)) <= 80 and sum("word" in line for line in lines) > 12


def test_the_thought_is_dim_and_a_call_that_cannot_be_read_stays_as_it_was_written():
    turn = turn_text(HERMES, "<think>hm</think>so<tool_call>{oops</tool_call>")
    assert turn.plain == "<think>hm</think>so<tool_call>{oops</tool_call>"
    assert [(span.start, span.end) for span in turn.spans if "dim" in str(span.style)] == [(0, 17)]
    assert turn_text(HERMES, "<think>never closed").spans[0].end == 19


def test_hostile_text_reaches_the_terminal_inert(terminal, make_task, jail):
    task = make_task(question=HOSTILE, source=make_task().source.replace("return text.upper()", "return text * 2"))
    task.schemas[0]["function"]["description"] = "get_price."
    turn = f"<think>{HOSTILE}</think>{HOSTILE}" + HERMES.write_call(typed_call("shout(text='x')"))
    hostile_call = turn.replace('"x"', '"\\u001b[2J [red]"')
    out = shown(terminal, lambda dialect: Scripted(hostile_call, f"{HOSTILE}\\boxed{{{HOSTILE}}}"), task, jail)
    assert set(re.findall(r"\x1b\[?[^m]{0,9}m?", out)) <= set(re.findall(r"\x1b\[[0-9;]*m", out))  # colours alone
    assert not re.search(r"[\x00-\x09\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202e\ud800]", out)
    plain = Text.from_ansi(out).plain
    assert "a\\x1b]0;owned\\x07" in plain and "[red]b[/red] [link=x]c[/link] :skull:" in plain


def test_hostile_source_is_shown_inert(terminal):
    Screen(terminal).python(f"x = {HOSTILE!r}\n# {HOSTILE}\n")
    out = terminal.getvalue()
    assert "\x1b]" not in out and "\x1b[2J" not in out and "\x9b" not in out and "\x1b[" in out
    assert "\\x1b]0;owned" in Text.from_ansi(out).plain and "[red]b[/red]" in Text.from_ansi(out).plain


def test_inert_text_keeps_its_lines_and_letters():
    assert inert("tab\tend\nüñ漢😀") == "tab\tend\nüñ漢😀"
    assert inert("\x1b\x00\x7f\x9b\u2066\ud800\r") == "\\x1b\\x00\\x7f\\x9b\\u2066\\ud800\\r"


def test_no_color_is_plain_text_on_a_terminal_too(terminal, task, jail, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    out = shown(terminal, lambda dialect: GoldAgent(task, dialect=dialect), task, jail)
    assert "\x1b" not in out and "answer  25  right" in out


def test_every_part_of_a_rubric_has_its_value_and_its_weight():
    style = Gate(Exact(), Weighted({"few": (0.25, Budget(calls=1))}))
    rubric = Rubric({"answer": (0.5, Exact()), "style": (0.5, style)})
    values = dict.fromkeys(rubric.names, 1.0)
    rows = score_rows({"values": values, "total": 0.625}, rubric.weights)
    assert [tuple(map(str, row)) for row in rows] == [
        ("part", "value", "weight"),
        ("answer", "1", "0.5"),
        ("style", "1", "0.5"),
        ("  condition", "1", ""),
        ("  then", "1", ""),
        ("    few", "1", "0.25"),
        ("total", "0.625", ""),
    ]


def test_a_void_episode_and_one_cut_short_say_why(terminal, task, jail):
    total = HERMES.write_call(typed_call("total()"))
    out = Text.from_ansi(shown(terminal, lambda dialect: Scripted(total), task, jail, max_turns=1)).plain
    assert "answer  none  not accepted" in out and "ended by max_turns" in out
    env = SynToolEnv(tasks=TaskSet([task]), sandbox=jail)
    EpisodeScreen(Screen(terminal), env, task, 7).stepped(
        {"tool_calls": [], "messages": [], "termination": "infra", "valid": False, "fault": "the jail broke"}
    )
    assert "void  \x1b[0mthe jail broke" in terminal.getvalue()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ('add(item="lamp", count=2)', 'add(item="lamp", count=2)'),
        (" f( a=null, b=true,\n c=[1, {'x': None}] ) ", 'f(a=null, b=true, c=[1, {"x": null}])'),
        ("f()", "f()"),
    ],
)
def test_a_call_may_be_typed_as_it_is_shown(typed, expected):
    found = typed_call(typed)
    assert call(found.name, **found.arguments) == expected


@pytest.mark.parametrize(
    "typed", ["f(1)", "f(**x)", "a.f(x=1)", "f(x=y)", "f(x={1})", "f(x=1", "so f()", "", "f(x=1) + 1"]
)
def test_what_is_no_call_of_that_form_is_left_as_it_is(typed):
    assert typed_call(typed) is None


def test_a_schema_that_is_none_of_ours_has_a_signature_too():
    parameters = {"type": "object", "properties": {"a": {"type": ["string", "null"]}, "b": True}, "required": ["a"]}
    text = signature_text({"name": "f", "parameters": parameters})
    assert text.plain == "f(a: string or null, b: any (optional))"


def test_a_table_is_aligned_and_its_text_wraps_in_its_column_or_below(terminal, monkeypatch):
    rows = [["id", "n", "question"], ["a", "1", "short"], ["bcd", "10", "word " * 12]]
    Screen(terminal).table(rows, last_wraps=True)
    lines = Text.from_ansi(terminal.getvalue()).plain.splitlines()
    assert lines[:3] == ["id   n   question", "a     1  short", "bcd  10  " + " ".join(["word"] * 12)]
    monkeypatch.setenv("COLUMNS", "45")
    narrow, narrower = Terminal(), Terminal()
    Screen(narrow).table(rows, last_wraps=True)
    assert Text.from_ansi(narrow.getvalue()).plain.splitlines()[2:] == [
        "bcd  10  word word word word word word word",
        "         word word word word word",
    ]
    monkeypatch.setenv("COLUMNS", "30")
    Screen(narrower).table(rows[1:], last_wraps=True)
    assert Text.from_ansi(narrower.getvalue()).plain.splitlines()[:4] == [
        "a     1",
        "    short",
        "bcd  10",
        "    word word word word word",
    ]


def test_list_is_a_table_with_a_count_on_a_terminal(tasks_file):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "recall_env", "list", str(tasks_file), "--family", "stall"]
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, text=True, env=environ)
    os.close(theirs)
    err = process.communicate(timeout=60)[1]
    out = Text.from_ansi(os.read(ours, 65536).decode().replace("\r\n", "\n")).plain
    os.close(ours)
    assert process.returncode == 0 and err == "3 of 6 tasks\n"
    heads, *lines = out.splitlines()
    assert heads.split() == ["id", "family", "difficulty", "n_calls", "question"] and len(lines) == 3
    assert all(line.index("What do two lamps cost?") == heads.index("question") for line in lines)


def test_turns_are_shown_as_they_happen_on_a_real_terminal(tasks_file, shared_jail):
    """By hand, on a pseudo-terminal: what the tool said is read before the next turn is typed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "recall_env", "play", "ReCall/SynTool-v0", "hand", "--dataset", str(tasks_file)]
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
    os.close(theirs)
    seen = ""

    def read_until(words):
        nonlocal seen
        deadline = time.monotonic() + 60
        while words not in seen and time.monotonic() < deadline:
            try:
                seen += os.read(ours, 4096).decode()
            except OSError:  # the other side has gone
                break
        assert words in seen, seen

    try:
        read_until("your turn")
        os.write(ours, b"add(item='lamp', count=2)\n\n")
        read_until('{"basket": ["lamp", "lamp"]}')
        os.write(ours, b"\\boxed{25}\n\n")
        read_until("reward 1, answer '25', 2 turns")
        assert process.wait(30) == 0 and "\x1b[1;32mok  \x1b[0m" in seen
    finally:
        process.kill()
        process.wait()
        os.close(ours)
