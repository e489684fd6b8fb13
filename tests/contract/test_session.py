"""What Session and Pool promise, held against every backend: jailed and unjailed."""

import select
import threading
import time
from dataclasses import replace

import pytest
from backends import LIMITS

from recall_env.errors import EnvError, SandboxFailure

TOOLS = """
import dataclasses, datetime, decimal, enum, os, random, sys, time, uuid
from collections import Counter
from dataclasses import dataclass
from json import dumps as imported

shelf = {}
def setup(state):
    shelf.update(state or {})
def put(key, value):
    shelf[key] = value
    return len(shelf)
def get(key): return shelf[key]
def echo(value=None): return value
def _hidden(): return 1
class Tool: pass
double = lambda number: 2 * number
async def later(value):
    import asyncio
    await asyncio.sleep(0.01)
    return value
def say(text): print(text); return None
def chance():
    return [random.random(), str(uuid.uuid4()), str(uuid.uuid1()), os.urandom(4).hex(), time.time(), time.time_ns(),
            str(datetime.datetime.now()), str(datetime.date.today()), hash("a"), time.perf_counter(),
            list({"x", "y", "zz", "w"}), random.Random().random(), random.Random(None).random(),
            time.clock_gettime(time.CLOCK_REALTIME), random.seed() or random.random()]
def sleep(seconds): time.sleep(seconds); return "awake"
def spin():
    while True: pass
hoard = []
def fill_up():
    size = 1 << 24
    while size > 16:
        try:
            hoard.append(bytearray(size))
        except MemoryError:
            size //= 2
    return len(hoard)
def swallow(): return len(bytearray(1 << 40))
def give_up(): sys.exit(3)
def interrupt(): raise KeyboardInterrupt
def bare(): assert shelf == "nonsense"
def silent(): raise ValueError
def die(): os._exit(0)
def segfault():
    import ctypes
    ctypes.string_at(0)
class Unprintable(Exception):
    def __str__(self): raise RuntimeError("no")
def unprintable(): raise Unprintable
@dataclass
class Lamp: price: int; parts: list
class Colour(enum.Enum): RED = "red"
def kinds():
    return {1: (1, 2), "set": {3, 1, 2}, "lamp": Lamp(5, [Lamp(1, [])]), "colour": Colour.RED, None: True, 2.5: None,
            "when": datetime.datetime(2024, 1, 2, 3), "day": datetime.date(2024, 1, 2),
            "money": decimal.Decimal("1.10"), "count": Counter("aab"), "range": range(3)}
def nan(): return [float("nan")]
def loose(): return [object()]
class Rude:
    def __repr__(self): return 1 / 0
def rude(): return Rude()
def remember():
    open("mark", "a").close()
    shelf["n"] = shelf.get("n", 0) + 1
    return [shelf["n"], len(os.listdir("."))]
def cycle():
    knot = []; knot.append(knot); return knot
def lone(): return "a\\ud800b"
def long(): return "x" * 50_000
def long_list(): return ["x"] * 50_000
def loud(): print("y" * 50_000); return 7
def is_date(): return isinstance(datetime.datetime.now(), datetime.datetime), repr(datetime.datetime(2024, 1, 2, 3, 4))
"""


@pytest.fixture
def session(pool):
    opened = pool.open(TOOLS)
    yield opened
    opened.close()


def test_state_lives_from_call_to_call(session):
    assert [session.call("put", {"key": key, "value": 1}).value for key in "abc"] == [1, 2, 3]
    assert session.call("get", {"key": "b"}).value == 1


def test_two_sessions_share_nothing(pool, session):
    other = pool.open(TOOLS)
    session.call("put", {"key": "a", "value": "mine"})
    assert other.call("get", {"key": "a"}).error_type == "KeyError"
    other.close()


@pytest.mark.parametrize("value", [0, 0.0, "", [], {}, False, None, -1, "é😀", {"a": [1, {"b": None}]}])
def test_values_come_back_as_they_are_falsy_ones_too(session, value):
    result = session.call("echo", {"value": value})
    assert (result.status, result.value, type(result.value)) == ("ok", value, type(value))


def test_setup_is_given_the_initial_state(pool):
    with_state = pool.open(TOOLS, state={"lamp": 5})
    assert with_state.call("get", {"key": "lamp"}).value == 5
    with_state.close()


def test_a_large_initial_state_goes_over_in_pieces(pool):
    state = {f"key {number}": 'é"\\' * 50 for number in range(2_000)}
    with_state = pool.open(TOOLS, state=state)
    assert with_state.call("get", {"key": "key 1999"}).value == state["key 1999"]
    with_state.close()


@pytest.mark.parametrize("name", ["_hidden", "setup", "imported", "Tool", "dataclass", "shelf", "nowhere", "os", ""])
def test_only_functions_that_the_source_defines_can_be_called(session, name):
    assert session.call(name, {}).status == "unknown_tool"


def test_lambdas_and_coroutines_are_functions_too(session):
    assert session.call("double", {"number": 4}).value == 8
    assert session.call("later", {"value": [1]}).value == [1]
    assert session.call("later", {"value": 2}).value == 2


def test_what_a_call_prints_is_kept_apart_from_its_value(session):
    result = session.call("say", {"text": "hé\n"})
    assert (result.status, result.value, result.stdout) == ("ok", None, "hé\n\n")
    assert session.call("echo", {"value": 1}).stdout == ""


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "words"),
    [
        ("get", {"key": "x"}, "KeyError", "'x'"),
        ("get", {}, "TypeError", "missing 1 required positional argument: 'key'"),
        ("get", {"key": 1, "other": 2}, "TypeError", "unexpected keyword argument 'other'"),
        ("bare", {}, "AssertionError", "assertion failed: def bare(): assert shelf =="),
        ("silent", {}, "ValueError", "ValueError (no message)"),
        ("give_up", {}, "SystemExit", "tried to exit the interpreter (3)"),
        ("interrupt", {}, "KeyboardInterrupt", "KeyboardInterrupt"),
        ("unprintable", {}, "Unprintable", "cannot be shown: RuntimeError"),
        ("nan", {}, "ResultError", "nan, which JSON does not have"),
        ("loose", {}, "ResultError", "type object, which is not JSON data"),
        ("loose", {}, "ResultError", "It was <object object>"),
        ("rude", {}, "ResultError", "It was something whose repr raises ZeroDivisionError"),
        ("cycle", {}, "ResultError", "nests deeper than"),
    ],
)
def test_a_tools_own_error_is_told_in_words_and_the_session_goes_on(session, name, arguments, kind, words):
    result = session.call(name, arguments)
    assert (result.status, result.error_type) == ("tool_error", kind)
    assert words in result.error_message
    assert "Traceback" not in result.error_message and "/" not in result.error_message
    assert session.call("echo", {"value": 0}).ok


def test_python_values_become_the_json_one_would_expect(session):
    assert session.call("kinds", {}).value == {
        "1": [1, 2],
        "set": [1, 2, 3],
        "lamp": {"price": 5, "parts": [{"price": 1, "parts": []}]},
        "colour": "red",
        "null": True,
        "2.5": None,
        "when": "2024-01-02T03:00:00",
        "day": "2024-01-02",
        "money": "1.10",
        "count": {"a": 2, "b": 1},
        "range": [0, 1, 2],
    }


def test_a_lone_surrogate_comes_back_as_the_replacement_character(session):
    assert session.call("lone", {}).value == "a\ufffdb"
    assert session.call("echo", {"value": "\ud800"}).value == "\ufffd"


@pytest.mark.parametrize(("name", "start"), [("long", "xxx"), ("long_list", '["x","x"')])
def test_a_value_beyond_the_limit_is_cut_and_says_so(session, name, start):
    result = session.call(name, {})
    assert result.status == "output_truncated"
    assert result.value.startswith(start) and len(result.value) == LIMITS.output_bytes


def test_printing_beyond_the_limit_is_cut_and_the_value_kept(session):
    result = session.call("loud", {})
    assert (result.status, result.value, len(result.stdout)) == ("output_truncated", 7, LIMITS.output_bytes)


def test_arguments_that_are_not_json_or_too_long_never_leave_the_host(session):
    assert session.call("echo", {"value": float("nan")}).status == "invalid_arguments"
    assert session.call("echo", {"value": "x" * LIMITS.frame_bytes}).status == "invalid_arguments"
    assert session.call("echo", {"value": 1}).ok


def test_a_call_past_its_time_is_a_timeout_and_so_is_every_later_one(session):
    start = time.monotonic()
    first, later = session.call("spin", {}), session.call("echo", {"value": 1})
    assert time.monotonic() - start < LIMITS.call_timeout_s + 1.0
    assert (first.status, later.status) == ("timeout", "timeout")
    assert "longer than 0.5 s" in first.error_message and "earlier call" in later.error_message


def test_sleeping_takes_its_time(session):
    start = time.monotonic()
    assert session.call("sleep", {"seconds": 0.1}).value == "awake"
    assert time.monotonic() - start >= 0.1
    assert session.call("sleep", {"seconds": 5}).status == "timeout"


def test_out_of_memory_ends_the_session(session):
    assert session.call("swallow", {}).status == "out_of_memory"
    assert session.call("echo", {"value": 1}).status == "out_of_memory"


def test_a_tool_that_keeps_all_memory_is_out_of_memory_wherever_it_shows(pool):
    hoarder = pool.open(TOOLS, limits=replace(LIMITS, memory_bytes=160 << 20, call_timeout_s=10.0))
    statuses = [hoarder.call("fill_up", {}).status, *(hoarder.call("chance", {}).status for _ in range(3))]
    assert set(statuses) <= {"ok", "out_of_memory"} and statuses[-1] == "out_of_memory", statuses
    hoarder.close()


@pytest.mark.parametrize("name", ["die", "segfault"])
def test_an_interpreter_that_vanishes_is_a_violation(session, name):
    assert session.call(name, {}).status == "violation"
    assert session.call("echo", {"value": 1}).status == "violation"


def test_processor_time_is_bounded_over_the_whole_session(pool):
    greedy = pool.open(TOOLS, limits=replace(LIMITS, cpu_s=1, call_timeout_s=10.0))
    result = greedy.call("spin", {})
    assert result.status == "timeout" and "processor time" in result.error_message
    greedy.close()


def test_fresh_mode_loads_the_source_anew_for_every_call(pool):
    fresh = pool.open(TOOLS, state={"lamp": 5}, mode="fresh")
    assert [fresh.call("put", {"key": key, "value": 1}).value for key in "ab"] == [2, 2]
    assert fresh.call("get", {"key": "a"}).error_type == "KeyError"
    assert fresh.call("get", {"key": "lamp"}).value == 5
    fresh.close()


def test_in_process_mode_every_call_has_an_interpreter_of_its_own(pool):
    opened = pool.open(TOOLS, state={"lamp": 5}, mode="process")
    assert [opened.call("get", {"key": "lamp"}).value for _ in range(3)] == [5, 5, 5]
    assert [opened.call("put", {"key": key, "value": 1}).value for key in "ab"] == [2, 2]
    assert [opened.call(name, {}).status for name in ("die", "spin", "swallow")] == [
        "violation",
        "timeout",
        "out_of_memory",
    ]
    assert opened.call("get", {"key": "lamp"}).value == 5
    opened.close()
    opened.close()
    with pytest.raises(SandboxFailure, match="closed"):
        opened.call("get", {"key": "lamp"})
    with pytest.raises(EnvError, match="does not load"):
        pool.open("x = nowhere", mode="process")


def test_one_call_can_be_given_less_time_than_the_limit(session):
    start = time.monotonic()
    result = session.call("sleep", {"seconds": 5}, timeout_s=0.1)
    assert result.status == "timeout" and "longer than 0.1 s" in result.error_message
    assert time.monotonic() - start < 0.4


def test_one_call_cannot_be_given_more_time_than_the_limit(session):
    assert "longer than 0.5 s" in session.call("sleep", {"seconds": 5}, timeout_s=60).error_message


def test_a_pool_gives_no_session_more_than_its_ceiling(pool):
    with pytest.raises(ValueError, match="limits: cpu_s: the ceiling is 1200, got 5000"):
        pool.open(TOOLS, limits=replace(LIMITS, cpu_s=5000))


def test_a_call_can_be_begun_and_its_result_fetched_when_it_is_there(session):
    """What an event loop does: aio.py and benchmarks drive thousands of sessions from one thread like this."""
    assert session.begin("sleep", {"seconds": 0.1}) is None
    assert session.advance() is None and 0 < session.remaining_s <= LIMITS.call_timeout_s
    assert select.select([session], [], [], 2.0)[0] == [session]
    assert session.advance().value == "awake"
    assert session.begin("spin", {}) is None
    time.sleep(LIMITS.call_timeout_s)
    assert session.advance().status == "timeout" and not session.alive
    assert session.begin("echo", {}).status == "timeout"


def test_the_same_seed_gives_the_same_chance_time_and_ids(pool):
    def play(seed):
        opened = pool.open(TOOLS, seed=seed)
        values = [opened.call("chance", {}).value for _ in range(2)]
        opened.close()
        return values

    first, again, other = play(7), play(7), play(8)
    assert first == again
    assert first[0] != first[1]
    hash_of_text, order_of_set = 8, 10  # fixed for all seeds
    differs = [a != b for a, b in zip(first[0], other[0], strict=True)]
    assert [place for place, different in enumerate(differs) if not different] == [hash_of_text, 9, order_of_set]


def test_replaced_dates_still_look_like_dates(session):
    assert session.call("is_date", {}).value == [True, "datetime.datetime(2024, 1, 2, 3, 4)"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def broken(:", "SyntaxError"),
        ("x = 1\ny = nowhere", "line 2: name 'nowhere' is not defined"),
        ("import requests_of_nobody", "No module named 'requests_of_nobody'"),
        ("def setup(state): return state['key']", "KeyError: line 1: 'key'"),
        ("import os; os._exit(0)", "violation"),
        ("x = bytearray(1 << 40)", "out_of_memory"),
        ("\0", "null bytes"),
    ],
)
def test_a_source_that_does_not_load_is_the_authors_error(pool, source, words):
    with pytest.raises(EnvError, match="does not load") as caught:
        pool.open(source, state={})
    assert words in str(caught.value)


def test_a_source_that_never_finishes_loading_is_the_authors_error(pool):
    with pytest.raises(EnvError, match=r"longer than 0\.3 s"):
        pool.open("while True: pass", limits=replace(LIMITS, load_timeout_s=0.3))


def test_state_that_is_not_json_is_the_authors_error(pool):
    with pytest.raises(EnvError, match="initial state"):
        pool.open(TOOLS, state={"a": object()})


def test_eight_threads_use_sessions_at_once_without_mixing_them_up(pool):
    wrong: list[object] = []

    def work(number):
        opened = pool.open(TOOLS, seed=number)
        for turn in range(50):
            result = opened.call("echo", {"value": [number, turn]})
            if result.value != [number, turn]:
                wrong.append(result)
        opened.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == [] and not any(thread.is_alive() for thread in threads)


def test_a_closed_session_refuses_calls_and_closes_twice(pool):
    opened = pool.open(TOOLS)
    opened.close()
    opened.close()
    with pytest.raises(SandboxFailure, match="closed"):
        opened.call("echo", {})
