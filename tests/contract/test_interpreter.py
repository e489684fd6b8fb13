"""What an interpreter has for a tool: Python's library, nothing of ours, texts of any class. On every backend."""

import pytest


@pytest.mark.parametrize("name", ["guest", "wire", "values", "isolation", "zygote"])
def test_our_own_files_are_no_modules_to_a_tool(pool, name):
    session = pool.open(f"def find():\n    import {name}")
    result = session.call("find", {})
    session.close()
    assert result.error_type == "ModuleNotFoundError"


def test_what_no_tool_of_the_warm_interpreter_has_imported_can_still_be(pool):
    names = "hashlib hmac secrets tempfile unicodedata cmath html ssl zlib argparse fcntl pickle".split()
    session = pool.open(f"import importlib\ndef load(): return [importlib.import_module(n).__name__ for n in {names}]")
    result = session.call("load", {})
    session.close()
    assert result.value == names, result.error_message


LAZY = """
import asyncio, datetime, logging, sqlite3

def parse(): return str(datetime.datetime.strptime("2024-01-02 03:04", "%Y-%m-%d %H:%M"))
async def elsewhere(): return await asyncio.to_thread(len, "abc")
def in_cp1252(): return "naïve".encode("cp1252").hex()
def since(): return logging.LogRecord("a", 1, "b", 1, "c", (), None).relativeCreated
def dates():
    moment = datetime.datetime(2024, 1, 2, 3, 4)
    asked = [datetime.date(2024, 1, 2), moment, moment.date(), moment + datetime.timedelta(1), datetime.date.today()]
    return list(sqlite3.connect(":memory:").execute("select ?, ?, ?, ?, length(?)", asked).fetchone())
"""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("parse", "2024-01-02 03:04:00"),
        ("elsewhere", 3),
        ("in_cp1252", "6e61ef7665"),
        ("dates", ["2024-01-02", "2024-01-02 03:04:00", "2024-01-02", "2024-01-03 03:04:00", 10]),
    ],
)
def test_what_the_library_imports_or_asks_for_only_when_it_runs_is_there(pool, name, value):
    session = pool.open(LAZY)
    result = session.call(name, {})
    session.close()
    assert result.value == value, result


def test_a_log_counts_from_the_episodes_own_start(pool):
    ages = []
    for _ in range(2):
        session = pool.open(LAZY)
        ages.append(session.call("since", {}).value)
        session.close()
    assert ages[0] == ages[1] and 0 <= ages[0] < 60_000


def test_what_a_source_logs_to_its_output_is_of_the_call_that_logs_it(pool):
    source = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
kept = sys.stdout

def work(name: str):
    logging.info("at %s", name)
    print("then", file=kept)
"""
    session = pool.open(source)
    said = [session.call("work", {"name": name}).stdout for name in ("one", "two")]
    session.close()
    assert said == ["at one\nthen\n", "at two\nthen\n"]


def test_a_text_of_any_class_is_cut_as_text(pool):
    source = """
import enum

Word = enum.StrEnum("Word", {"LONG": "x" * 100_000})
Choice = enum.Enum("Choice", {"LONG": "x" * 100_000})
class Text(str): pass

def word(): return Word.LONG
def choice(): return Choice.LONG
def text(): return Text("x" * 100_000)
def plain(): return "x" * 100_000
"""
    session = pool.open(source)
    results = [session.call(name, {}) for name in ("plain", "word", "choice", "text")]
    session.close()
    assert results == [results[0]] * 4
    assert results[0].status == "output_truncated" and set(results[0].value) == {"x"}
