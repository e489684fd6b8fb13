"""What all tests share: a small shop as a Task, warm jails, and the detector of what a test leaves behind."""

import gc
import importlib
import json
import os
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from gymnasium.envs.registration import registry

from recall_env.sandbox import JailPool, shared_pool
from recall_env.task import Solution, Task
from recall_env.taskset import TaskSet
from recall_env.tool_call import ToolCall

# Folders whose tests may leave nothing behind. Elsewhere (torch and vLLM keep threads and files open for good) a test
# asks for `leaves_nothing_behind` by name.
_WATCHED = ("recall_env", "envs_synthetic", "security", "property", "golden")

SHOP = """
import random
PRICES = {"lamp": 12.5, "chair": 0, "desk": 80}
basket = []

def setup(state):
    if state:
        PRICES.update(state["prices"])

def get_price(item: str):
    return PRICES[item]

def add(item: str, count: int = 1):
    if item not in PRICES:
        raise KeyError(item)
    basket.extend([item] * count)
    return {"basket": list(basket)}

def total():
    return sum(PRICES[item] for item in basket)

def shout(text: str):
    print(text)
    return text.upper()

def draw():
    return random.random()

def wait_forever():
    while True:
        pass
"""


def _schema(name: str, required: tuple[str, ...] = (), **types: str) -> dict:
    properties = {argument: {"type": kind} for argument, kind in types.items()}
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": f"{name}.", "parameters": parameters}}


SHOP_SCHEMAS = (
    _schema("get_price", ("item",), item="string"),
    _schema("add", ("item",), item="string", count="integer"),
    _schema("total"),
    _schema("shout", ("text",), text="string"),
    _schema("draw"),
    _schema("wait_forever"),
)


def shop_task(number: int = 0, **changes) -> Task:
    """The shop, with a gold solution of two calls."""
    calls = (ToolCall("add", {"item": "lamp", "count": 2}), ToolCall("total", {}))
    fields = {
        "id": f"shop-{number}",
        "question": "What do two lamps cost?",
        "source": SHOP,
        "schemas": SHOP_SCHEMAS,
        "ground_truth": ("25",),
        "solution": Solution(calls, "25"),
        "family": "shop" if number % 2 == 0 else "stall",
    }
    return Task(**{**fields, **changes})


@pytest.fixture
def make_task():
    """shop_task(number, **changed fields)."""
    return shop_task


@pytest.fixture
def task() -> Task:
    return shop_task()


@pytest.fixture
def tasks() -> TaskSet:
    return TaskSet([shop_task(number) for number in range(6)])


@pytest.fixture
def tasks_file(tmp_path: Path, tasks: TaskSet) -> Path:
    path = tmp_path / "shop.jsonl"
    path.write_text("".join(json.dumps(task.to_row()) + "\n" for task in tasks))
    return path


@pytest.fixture
def registry_as_it_was():
    """Takes back what the test registers with Gymnasium."""
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)


@pytest.fixture
def define(tmp_path, monkeypatch, registry_as_it_was):
    """define(text, name) -> the module; its ids and itself are gone after the test."""
    defined = []
    monkeypatch.syspath_prepend(tmp_path)

    def define(text, name="authored"):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        defined.append(name)
        return importlib.import_module(name)

    yield define
    for name in defined:
        sys.modules.pop(name, None)


@pytest.fixture(scope="session")
def jail() -> JailPool:
    """A warm pool of the suite's own; sessions of it leave nothing behind once closed."""
    pool = JailPool()
    _warm(pool)
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def shared_jail() -> JailPool:
    """The process-wide pool behind sandbox="nsjail", warm: what it keeps is no leak of the test that asks first."""
    pool = shared_pool("nsjail")
    _warm(pool)
    return pool


def _warm(pool: JailPool) -> None:
    sessions = [pool.open("def f(): return 1") for _ in range(8)]  # more than it has jails
    for session in sessions:
        session.close()


@pytest.fixture
def leaves_nothing_behind():
    """Fails the test that leaves a process, an open descriptor or a non-daemon thread."""
    before = _held()
    yield
    deadline = time.monotonic() + 2.0
    while (left := _left(before)) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.02)  # a killed process is gone when its parent has seen it
    if left:
        pytest.fail(f"the test left behind: {'; '.join(left)}")


@pytest.fixture(autouse=True)
def _watch(request):
    folder = request.path.relative_to(Path(__file__).parent).parts[0]
    if folder in _WATCHED:
        request.getfixturevalue("leaves_nothing_behind")


def _held() -> dict[str, dict]:
    threads = {thread.ident: thread.name for thread in threading.enumerate() if not thread.daemon}
    return {"process": _descendants(os.getpid()), "descriptor": _descriptors(), "thread": threads}


def _left(before: dict[str, dict]) -> list[str]:
    now = _held()
    return [
        f"{what} {name} ({now[what][name]})"
        for what in before
        for name in sorted(now[what].keys() - before[what].keys())
    ]


def _descriptors() -> dict[str, str]:
    """What is open, by number: a number closed and opened again in a test counts as the same."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:  # the listing's own descriptor
            continue
    return found


def _descendants(pid: int) -> dict[int, str]:
    found, parents = {}, [pid]
    while parents:
        for child in _children(parents.pop()):
            try:
                found[child] = Path(f"/proc/{child}/comm").read_text().strip()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.append(child)
    return found


def _children(pid: int) -> list[int]:
    children = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            children += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        pass
    return children
