"""Small environments with one defect each, and the check that must find it; and the sound ones they are made from.

Most defects are the task's. Some are a rubric's or a pool's: those come with what has to stand in for ours.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sound import (
    BADGE,
    BADGE_CALLS,
    BADGES,
    OWNER,
    SELL,
    STOCK,
    STOCK_OF,
    SharedPool,
    tool,
)

from recall_env.check.bench import Severity
from recall_env.rubric import Episode, Part, Rubric
from recall_env.rubric import answer as answer_value
from recall_env.task import Solution, Task
from recall_env.tool_call import ToolCall


@dataclass(frozen=True)
class Planted:
    check: str
    task: Task
    severity: Severity = "error"
    rubric: Rubric | None = None
    pool: Callable[[], SharedPool] | None = None


def plant(
    check: str, base: Task, severity: Severity = "error", old: str = "", new: str = "", **changes: Any
) -> Planted:
    """The base with fields changed, and with `old` in its source replaced by `new` (added at the end without `old`)."""
    if new:
        assert old in base.source
        changes["source"] = base.source.replace(old, new, 1) if old else base.source + new
    return Planted(check, replace(base, **changes), severity)


def judged(check: str, value: Callable[[Episode], float], severity: Severity = "error") -> Planted:
    """A sound task under a rubric that is none; `answer` stays beside it, to say what a success is."""
    return Planted(check, BADGES, severity, Rubric({"own": Part(1.0, value), "answer": Part(0.0, answer_value)}))


def with_parameters(schema: dict[str, Any], **changes: Any) -> dict[str, Any]:
    function = schema["function"]
    return {"type": "function", "function": {**function, "parameters": {**function["parameters"], **changes}}}


_dice = iter(range(10**9))
_TRUTH, _RETURN = BADGES.ground_truth[0], '    return {"badge": BADGES[person]}\n'
_DESCRIBED = copy.deepcopy(BADGE)
_DESCRIBED["function"]["description"] = "Badge of a person, such as k4711."
_NO_TYPE = with_parameters(SELL, properties={"item": {"type": "string"}, "count": {}})
_SHORTCUT = "\ndef badge_of_item(item: str):\n    return BADGES[OWNERS[item]]\n"
_DUMP = "\ndef everybody():\n    return [{'person': p, 'badge': b} for p, b in BADGES.items()]\n"
_COUNTING = '\ndef count_up(count: int):\n    return "".join("x" for _ in range(count))[:9]\n'
_FILLING = '\ndef pad(count: int):\n    return ("x" * count)[:9]\n'
_WALK = "\ndef walk():\n    return len(().__class__.__base__.__subclasses__())\n"


def _answer_or_error(episode: Episode) -> float:
    return float(episode.answer.strip() == _TRUTH)  # None has no strip


def _longer_is_better(episode: Episode) -> float:
    return answer_value(episode) * (1.0 - min(len(episode.final_text), 900) / 1000)


def _bonus(episode: Episode) -> float:
    return answer_value(episode) + 0.5 * float((episode.answer or "").isupper())


PLANTED: dict[str, Planted] = {
    # schema
    "a type that JSON Schema does not have": plant(
        "schema", BADGES, schemas=(tool("find_owner", item="strnig"), BADGE)
    ),
    "a required argument that is not listed": plant(
        "schema", BADGES, schemas=(with_parameters(OWNER, required=["item", "shop"]), BADGE)
    ),
    "parameters that are a list": plant("schema", BADGES, schemas=(with_parameters(OWNER, type="array"), BADGE)),
    "a tool whose name Python cannot say": plant("schema", BADGES, schemas=(OWNER, BADGE, tool("find-owner"))),
    "a gold call to an unknown tool": plant(
        "schema", BADGES, solution=Solution((*BADGE_CALLS, ToolCall("pay", {})), _TRUTH)
    ),
    "a gold argument of the wrong type": plant(
        "schema", BADGES, solution=Solution((ToolCall("find_owner", {"item": 3}), BADGE_CALLS[1]), _TRUTH)
    ),
    "a task without tools": plant("schema", BADGES, schemas=(), solution=Solution((), _TRUTH)),
    # signature
    "a source that is not Python": plant("signature", BADGES, new="\ndef ("),
    "a tool without a function": plant("signature", BADGES, schemas=(OWNER, BADGE, tool("pay", sum="number"))),
    "another name of a parameter": plant("signature", BADGES, old="item: str", new="thing: str"),
    "another type of a parameter": plant("signature", BADGES, old="item: str", new="item: int"),
    "another type in a list of types": plant("signature", BADGES, old="item: str", new="item: int | None"),
    "a parameter that only the function requires": plant("signature", STOCK, old="count: int = 1", new="count: int"),
    "another default": plant(
        "signature",
        STOCK,
        schemas=(tool("sell", ("count",), item="string", count={"type": "integer", "default": 2}), STOCK_OF),
    ),
    "arguments without names": plant("signature", BADGES, old="item: str", new="item: str, *more"),
    "a tool that was forgotten": plant(
        "signature", BADGES, "warning", new="\ndef find_item(person: str):\n    return [i for i in OWNERS]\n"
    ),
    # gate
    "a look at the machine": plant("gate", BADGES, old="\nOWNERS", new="\nimport os\nOWNERS"),
    "a socket": plant("gate", BADGES, old="\nOWNERS", new="\nimport socket\nOWNERS"),
    "a calculator by eval": plant(
        "gate",
        BADGES,
        new="\ndef work_out(sum: str):\n    return eval(sum)\n",
        schemas=(OWNER, BADGE, tool("work_out", sum="string")),
    ),
    "a walk to all classes": plant("gate", BADGES, new=_WALK, schemas=(OWNER, BADGE, tool("walk"))),
    "a file that is opened": plant(
        "gate",
        BADGES,
        new="\ndef note(text: str):\n    open('note', 'w').write(text)\n",
        schemas=(OWNER, BADGE, tool("note", text="string")),
    ),
    # leak
    "the answer in the question": plant("leak", BADGES, question=f"{BADGES.question} It is not K4711."),
    "the answer in a tool's description": plant("leak", BADGES, schemas=(OWNER, _DESCRIBED)),
    "the answer in an enum": plant(
        "leak", BADGES, schemas=(tool("find_owner", item={"type": "string", "enum": ["lamp", "desk", "k4711"]}), BADGE)
    ),
    "the answer in a docstring": plant("leak", BADGES, old="Badge of a person", new="Badge, such as k4711"),
    "a tool that always says the answer": plant("leak", BADGES, old=_RETURN, new='    return {"badge": "k4711"}\n'),
    "the answer in a comment": plant(
        "leak", BADGES, "warning", old="\ndef find_badge", new="\n# k4711 is wanted\ndef find_badge"
    ),
    # budget
    "more calls than turns": plant(
        "budget", BADGES, solution=Solution((BADGE_CALLS[0],) * 9 + BADGE_CALLS, _TRUTH), n_calls=11
    ),
    "another count of calls": plant("budget", BADGES, "warning", n_calls=5),
    # loads
    "a source that raises": plant("loads", BADGES, new="\n1 / 0\n"),
    "a setup that misses a key": plant("loads", STOCK, state={"goods": {}}),
    "a source that never ends": plant("loads", BADGES, new="\nwhile True: pass\n", limits={"load_timeout_s": 1}),
    "a source that fills the memory": plant("loads", BADGES, new="\nFULL = bytearray(1 << 40)\n"),
    "a state that nobody takes": plant("loads", BADGES, "warning", state={"lamp": 1}),
    "a service that is not there": plant("loads", BADGES, services=("search",)),
    # gold
    "no gold solution": plant("gold", BADGES, solution=None),
    "a gold call that fails": plant("gold", BADGES, old='"lamp"', new='"sofa"'),
    "an answer that is not the accepted one": plant("gold", BADGES, solution=Solution(BADGE_CALLS, "m1288")),
    "an answer that the calls do not lead to": plant(
        "gold",
        BADGES,
        ground_truth=("k4712",),
        solution=Solution(BADGE_CALLS, "k4712"),
        extra={"solution": {"answer_at": ["badge"]}},
    ),
    "an answer at no place": plant("gold", BADGES, extra={"solution": {"answer_at": ["number"]}}),
    "an answer that no box can hold": plant(
        "gold",
        BADGES,
        old='"k4711"',
        new='"k}4711"',
        ground_truth=("k}4711",),
        solution=Solution(BADGE_CALLS, "k}4711"),
    ),
    "an answer from nowhere": plant(
        "gold", BADGES, "warning", ground_truth=("z9000",), solution=Solution(BADGE_CALLS, "z9000")
    ),
    # floor
    "a reward for any answer": judged("floor", lambda episode: float(episode.answer is not None)),
    "a reward for words that hold the answer": judged("floor", lambda episode: float(_TRUTH in (episode.answer or ""))),
    "a reward for repeating the question": judged(
        "floor", lambda e: max(answer_value(e), 0.4 * float("badge" in (e.answer or "")))
    ),
    "a reward for doing nothing": judged("floor", lambda e: 1.0 if e.answer is None else answer_value(e)),
    "an answer that anybody guesses": plant(
        "floor",
        BADGES,
        "warning",
        old='"k4711"',
        new='"yes"',
        ground_truth=("yes",),
        solution=Solution(BADGE_CALLS, "yes"),
    ),
    # outside_text
    "a reward for the truth in prose": judged("outside_text", lambda episode: float(_TRUTH in episode.final_text)),
    "a reward that falls with the length": judged("outside_text", _longer_is_better),
    # rubric
    "a reward by chance": judged("rubric", lambda episode: answer_value(episode) * (1.0 - next(_dice) % 3 / 1000)),
    "a reward that is no number": judged(
        "rubric", lambda episode: float("nan") if episode.answer == "nan" else answer_value(episode)
    ),
    "a rubric that raises": judged("rubric", _answer_or_error),
    "more than gold earns": judged("rubric", _bonus),
    # single_call
    "a short cut": plant(
        "single_call", BADGES, new=_SHORTCUT, schemas=(OWNER, BADGE, tool("badge_of_item", item="string"))
    ),
    "a tool that tells everything": plant("single_call", BADGES, new=_DUMP, schemas=(OWNER, BADGE, tool("everybody"))),
    # outputs
    "a result that is cut off": plant("outputs", BADGES, old='{"badge":', new='{"story": "x" * 40_000, "badge":'),
    "a result that fills a context": plant(
        "outputs", BADGES, "warning", old='{"badge":', new='{"story": "x" * 5_000, "badge":'
    ),
    # world
    "an answer that is drawn": plant(
        "world",
        BADGES,
        old=_RETURN,
        new='    import random\n    return {"badge": BADGES[person] if random.random() < 0.4 else "gone"}\n',
    ),
    "an answer that the clock decides": plant(
        "world",
        BADGES,
        old=_RETURN,
        new='    import time\n    return {"badge": BADGES[person] + time.strftime("%d")}\n',
    ),
    "a number that is drawn beside the answer": plant(
        "world",
        BADGES,
        "warning",
        old=_RETURN,
        new='    import uuid\n    return {"badge": BADGES[person], "request": uuid.uuid4().hex}\n',
    ),
    "a database on disk": plant(
        "world", BADGES, old="\nOWNERS", new='\nimport sqlite3\nDB = sqlite3.connect("goods.db")\nOWNERS'
    ),
    # processes
    "an address in a result": plant("processes", BADGES, old='{"badge":', new='{"at": id(object()), "badge":'),
    "an object shown as text": plant("processes", BADGES, old='{"badge":', new='{"at": str(object()), "badge":'),
    # isolation, concurrent
    "a pool that keeps what an episode did": Planted("isolation", STOCK, pool=lambda: SharedPool(leaks=True)),
    "a pool that breaks under load": Planted("concurrent", BADGES, pool=lambda: SharedPool(leaks=False, breaks_at=3)),
    # arguments
    "a count without a limit, in time": plant(
        "arguments",
        BADGES,
        new=_COUNTING,
        schemas=(OWNER, BADGE, tool("count_up", count="integer")),
        limits={"call_timeout_s": 1},
    ),
    "a count without a limit, in memory": plant(
        "arguments", BADGES, new=_FILLING, schemas=(OWNER, BADGE, tool("pad", count="integer"))
    ),
    "an argument without a type": plant("arguments", STOCK, "warning", schemas=(_NO_TYPE, STOCK_OF)),
    # mutation
    "an answer written into a tool": plant(
        "mutation",
        BADGES,
        "warning",
        old=_RETURN,
        new='    return {"badge": "k4711" if person.startswith("A") else "m1288"}\n',
    ),
}
