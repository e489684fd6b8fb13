"""The gate: realistic tool code passes; what no tool has reason to do is reported, with its line."""

import pytest

from recall_env.env import SynToolEnv
from recall_env.errors import TaskError
from recall_env.gate import ALLOWED_IMPORTS, MAX_CHARS, findings
from recall_env.taskset import TaskSet

REALISTIC = """
from __future__ import annotations
import asyncio, json, re, sqlite3
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

TEMPLATE = "{name} has {count:>3} of {item[0]}"
_STOCK: dict[str, int] = {"lamp": 4}

@dataclass
class Order:
    id: int = 0
    lines: list[str] = field(default_factory=list)
    def __post_init__(self): self._seen = set()
    def __len__(self) -> int: return len(self.lines)

class Special(Order):
    kind = "special"
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.id += 1

def open(item: str, /, count: int = 1, *, strict=True) -> dict:
    global _STOCK
    _STOCK[item] -= count
    counter = 0
    def bump():
        nonlocal counter
        counter += 1
    match {"item": item, "count": count}:
        case {"item": str(name), "count": int(n)} if n > 0:
            bump()
        case [first, *rest] | (first, rest):
            pass
        case _:
            raise ValueError(f"{item!r} of {type(item).__name__}")
    try:
        del _STOCK["none"]
    except* (KeyError, ValueError):
        pass
    return {"left": _STOCK[item], "text": TEMPLATE.format(name=item, count=count, item=[1])}

async def wait(seconds: float):
    async with asyncio.timeout(1):
        await asyncio.sleep(seconds)
    return [x async for x in ticks() if (y := x)]

async def ticks():
    for i in range(3):
        yield i

type Pair = tuple[int, int]
def pairs[T](xs: list[T]) -> list[T]:
    return sorted(xs, key=lambda x: getattr(x, "id", 0))

def store(rows):
    with sqlite3.connect(":memory:") as db:
        db.execute("create table t (a)")
        return open("lamp"), rows.__class__.__name__

if __name__ == "__main__":
    print(json.dumps({"at": str(datetime(2024, 1, 1) + timedelta(days=1)), "m": re.findall("a", "a")}))
"""


def test_realistic_tool_code_passes():
    assert findings(REALISTIC) == ()


@pytest.mark.parametrize(
    ("source", "line", "rule", "words"),
    [
        ("import json\nimport os", 2, "import", "import of os: files"),
        ("import json, socket", 1, "import", "import of socket: network"),
        ("from urllib.request import urlopen", 1, "import", "network"),
        ("def f():\n    import subprocess as json", 2, "import", "processes"),
        ("import ctypes", 1, "import", "the interpreter"),
        ("import numpy", 1, "import", "not on the list"),
        ("from . import secret", 1, "import", "not on the list"),
        ("from typing import sys", 1, "import", "typing.sys: the interpreter"),
        ("import random as r\nr._os.remove('x')", 2, "import", "random._os: files"),
        ("import io\nio.open('x')", 2, "import", "io.open: files"),
        ("exec('x = 1')", 1, "name", "exec: runs text as code"),
        ("f = eval", 1, "name", "eval: runs text as code"),
        ("compile('1', '', 'eval')", 1, "name", "compile"),
        ("__import__('os')", 1, "name", "__import__"),
        ("open('x').read()", 1, "name", "open: reads or writes files"),
        ("globals()['x'] = 1", 1, "name", "globals"),
        ("__builtins__", 1, "name", "__builtins__"),
        ("x = ().__class__", 1, "attribute", ".__class__"),
        ("x = f.__globals__", 1, "attribute", ".__globals__"),
        ("x = [].__class__.__base__.__subclasses__()", 1, "attribute", ".__subclasses__"),
        ("x = (i for i in y).gi_frame", 1, "attribute", ".gi_frame"),
        ("getattr(x, '__dict__')", 1, "attribute", "'__dict__'"),
        ("getattr(x, '__di' + 'ct__')", 1, "attribute", "getattr: of a name that is not written out"),
        ("import operator\noperator.attrgetter(name)(x)", 2, "attribute", "attrgetter"),
        ("'{0.__class__}'.format(x)", 1, "format", "{0.__class__}"),
        ("T = '{a} {b[__globals__]}'\nT.format(a=1, b=2)", 1, "format", "{b[__globals__]}"),
        ("def f(text, x):\n    return text.format(x)", 2, "format", "text.format: a template from outside"),
        ("def f(:", 1, "source", "not Python"),
    ],
)
def test_what_no_tool_has_reason_to_do_is_reported_with_its_line(source, line, rule, words):
    (found, *_) = [one for one in findings(source) if one.rule == rule and words in one.text]
    assert found.line == line and str(found).startswith(f"line {line}: ")


@pytest.mark.parametrize(
    "source",
    ["\0", "\ud800", "(" * 5000 + ")" * 5000, "x = " + "-" * 200_000 + "1", "x" * (MAX_CHARS + 1), "x = 1\n" + " y"],
)
def test_text_that_cannot_be_read_is_a_finding_and_no_crash(source):
    (found,) = findings(source)
    assert found.rule == "source"


def test_the_allow_list_is_the_callers_to_widen():
    assert findings("import requests", ALLOWED_IMPORTS | {"requests"}) == ()


def test_a_reset_with_the_gate_refuses_what_it_reports(make_task):
    tasks = TaskSet([make_task(0, source="import os\n" + make_task(0).source)])
    SynToolEnv(tasks=tasks).reset(seed=0)
    with pytest.raises(TaskError, match="shop-0: its source does not pass the gate: line 1: import of os: files"):
        SynToolEnv(tasks=tasks, gate=True).reset(seed=0)


def test_shipped_tasks_pass():
    for split in ("train", "test", "test_families"):
        for task in TaskSet.load("syntool", split).spread(60):
            assert findings(task.source) == (), task.id
