"""Compiled sources are shared between episodes, and nobody can tell."""

import pytest

from recall_env.errors import EnvError
from recall_env.sandbox import JailPool, Limits
from recall_env.sandbox.compiled import CompiledSources

SOURCE = '''
import random, weakref
from dataclasses import dataclass, field

@dataclass
class Item:
    """A thing."""
    name: str
    tags: list = field(default_factory=list)

ROOMS = {"kitchen", "office", "bedroom", "garage", "north", "hall"}
DRAWN = [random.random() for _ in range(3)]
SEEN = []

def look(name: str):
    SEEN.append(Item(name, [name.upper()]))
    return {"drawn": DRAWN, "seen": [str(item) for item in SEEN], "doc": Item.__doc__,
            "rooms": list(ROOMS), "live": made()}

class Node:
    pass

def made():
    """How many of these cycles the collector has left depends on when it last came by."""
    live = weakref.WeakSet()
    for _ in range(3000):
        node = Node()
        node.self = node
        live.add(node)
    return len(live)

def claim(number):
    assert number > 3, f"{number} is too small"
    assert number > 5
    return number

def line():
    return line.__code__.co_firstlineno, line.__code__.co_filename
'''


@pytest.fixture
def pool():
    made = JailPool(1)
    yield made
    made.close()


def play(pool, seed=0, mode="stateful"):
    session = pool.open(SOURCE, seed=seed, mode=mode)
    calls = [("look", {"name": "lamp"}), ("look", {"name": "desk"}), ("claim", {"number": 4}), ("line", {})]
    results = [session.call(*call) for call in calls]
    session.close()
    return results


@pytest.mark.parametrize("mode", ["stateful", "fresh", "process"])
def test_the_first_episode_of_a_source_and_the_later_ones_say_the_same(pool, mode):
    first = play(pool, mode=mode)
    assert len(pool.compiled) == 1
    assert play(pool, mode=mode) == first == play(pool, mode=mode)
    assert "assert number > 5" in first[2].error_message  # the line's text, which no code holds


def test_only_the_code_is_shared_and_not_what_it_drew(pool):
    assert play(pool, seed=1)[0].value["drawn"] != play(pool, seed=2)[0].value["drawn"]


def test_a_source_that_does_not_compile_says_so_each_time(pool):
    for _ in range(2):
        with pytest.raises(EnvError, match="SyntaxError: invalid syntax"):
            pool.open("def f(:")
    assert len(pool.compiled) == 0


def test_a_source_that_fails_when_it_runs_fails_the_same_with_the_code_of_another(pool):
    for _ in range(2):
        with pytest.raises(EnvError, match="ZeroDivisionError: line 2"):
            pool.open("x = 1\ny = x / 0")


@pytest.mark.parametrize(
    "source",
    [
        f"TABLE = {list(range(60_000))}\ndef last(): return TABLE[-1]",
        "SETS = {'a', 'b', 'c', 'd'}\n" + "TEXT = '0123456789' * 400\n" * 3000 + "def last(): return 59_999",
        "def last(): return 59_999\nNESTED = " + "(" * 80 + "1," + "),1," * 79 + ")",
    ],
    ids=["longer than a frame", "far longer when compiled", "constants in constants"],
)
def test_a_source_of_odd_code_works_each_time(pool, source):
    limits = Limits(load_bytes=1 << 20)
    for _ in range(3):
        session = pool.open(source, limits=limits)
        assert session.call("last", {}).value == 59_999
        session.close()


def test_the_code_does_not_count_as_source(pool):
    source = "\n".join(f"def f{number}(): return {number}" for number in range(300))
    limits = Limits(load_bytes=len(source) + 500)
    for _ in range(2):
        pool.open(source, limits=limits).close()
    assert len(pool.compiled) == 1


def test_what_was_used_last_is_kept():
    kept = CompiledSources(capacity_chars=30)
    for source in ("a", "b", "c"):
        kept.put(source, "x" * 9)
    assert kept.get("a") is not None
    kept.put("d", "x" * 9)
    assert [source for source in "abcd" if kept.get(source)] == ["a", "c", "d"]
    kept.put("a", "y")
    assert kept.get("a") == "x" * 9  # the first one stays
    kept.put("e" * 31, "x")
    assert len(kept) == 3
