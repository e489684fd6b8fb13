"""The sound environments that defects are planted in, and a pool without walls, for defects that are a pool's."""

import copy
from dataclasses import replace
from typing import Any

from recall_env.errors import EnvError
from recall_env.task import Solution, Task
from recall_env.tool_call import ToolCall, ToolResult

BADGES_SOURCE = '''
OWNERS = {"lamp": "Ana", "desk": "Ben"}
BADGES = {"Ana": "k4711", "Ben": "m1288"}

def find_owner(item: str):
    """Owner of an item."""
    if item not in OWNERS:
        raise KeyError(f"no item {item!r}")
    return {"owner": OWNERS[item]}

def find_badge(person: str):
    """Badge of a person."""
    return {"badge": BADGES[person]}
'''

STOCK_SOURCE = '''
STOCK = {}

def setup(state):
    STOCK.update(state["stock"])

def sell(item: str, count: int = 1):
    """Sell some of an item."""
    if not 0 < count <= STOCK[item]:
        raise ValueError(f"there are {STOCK[item]}")
    STOCK[item] -= count
    return "sold"

def stock_of(item: str):
    """How many there are."""
    return {"left": STOCK[item]}
'''


def tool(name: str, optional: tuple[str, ...] = (), **types: Any) -> dict[str, Any]:
    properties = {key: {"type": kind} if isinstance(kind, str) else kind for key, kind in types.items()}
    required = [key for key in types if key not in optional]
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": f"{name}.", "parameters": parameters}}


OWNER, BADGE = tool("find_owner", item="string"), tool("find_badge", person="string")
BADGE_CALLS = (ToolCall("find_owner", {"item": "lamp"}), ToolCall("find_badge", {"person": "Ana"}))
BADGES = Task(
    id="badge",
    question="What is the badge of the owner of the lamp?",
    source=BADGES_SOURCE,
    schemas=(OWNER, BADGE),
    ground_truth=("k4711",),
    solution=Solution(BADGE_CALLS, "k4711"),
    n_calls=2,
)
SELL, STOCK_OF = tool("sell", ("count",), item="string", count="integer"), tool("stock_of", item="string")
STOCK_CALLS = (ToolCall("sell", {"item": "lamp", "count": 12}), ToolCall("stock_of", {"item": "lamp"}))
STOCK = Task(
    id="stock",
    question="Sell 12 of the lamp. How many are left?",
    source=STOCK_SOURCE,
    schemas=(SELL, STOCK_OF),
    ground_truth=("4988",),
    solution=Solution(STOCK_CALLS, "4988"),
    state={"stock": {"lamp": 5000, "desk": 7}},
)
ONE_CALL = replace(
    BADGES,
    id="one-call",
    question="What is the badge of Ana?",
    solution=Solution(BADGE_CALLS[1:], "k4711"),
    n_calls=1,
)
SOUND = (BADGES, STOCK, ONE_CALL)


class SharedSession:
    """A session in this process, over names that others may hold too."""

    def __init__(self, pool: "SharedPool", source: str, state: Any) -> None:
        self.pool = pool
        self.names = pool.names_for(source, state)
        pool.live += 1

    def call(self, name: str, arguments: dict[str, Any], timeout_s: float | None = None) -> ToolResult:
        if self.pool.live >= self.pool.breaks_at:
            return ToolResult("tool_error", error_type="RuntimeError", error_message="busy")
        try:
            return ToolResult("ok", self.names[name](**copy.deepcopy(arguments)))
        except Exception as error:
            return ToolResult("tool_error", error_type=type(error).__name__, error_message=str(error))

    def close(self) -> None:
        self.pool.live -= 1


class SharedPool:
    """No sandbox at all: what an episode leaves behind, the next one finds."""

    def __init__(self, leaks: bool, breaks_at: int = 99) -> None:
        """breaks_at: so many sessions at once are too many."""
        self.leaks, self.breaks_at, self.live = leaks, breaks_at, 0
        self.kept: dict[str, dict[str, Any]] = {}

    def names_for(self, source: str, state: Any) -> dict[str, Any]:
        if self.leaks and source in self.kept:
            return self.kept[source]
        names = self.kept[source] = {"__name__": "tools"}
        try:
            exec(source, names)
            if "setup" in names:
                names["setup"](copy.deepcopy(state))
        except Exception as error:
            raise EnvError(str(error)) from error
        return names

    def open(self, source: str, *, state: Any = None, **_: Any) -> SharedSession:
        return SharedSession(self, source, state)

    def close(self) -> None:
        self.kept.clear()
