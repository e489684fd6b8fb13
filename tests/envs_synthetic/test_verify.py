"""verify finds what it should: a sound task stays sound, and one planted defect per check is named."""

from dataclasses import replace

import pytest
from sound import BADGE, BADGE_CALLS, BADGES, BADGES_SOURCE, OWNER, tool

from envs_synthetic.play import Trusted
from envs_synthetic.verify import CHECKS, soundness
from recall_env.check.other_data import mutations
from recall_env.check.signature import disagreements
from recall_env.task import Solution, Task
from recall_env.tool_call import ToolCall

SOUND = replace(BADGES, n_calls=None, extra={"solution": {"answer_at": ["badge"]}})
DESK = ToolCall("find_owner", {"item": "desk"})
SHORTCUT = "\ndef badge_of_owner(item: str):\n    return BADGES[OWNERS[item]]\n"

# The same, where the tools must also be left with the badge marked as lent: the last call does it, and says no truth.
STATE_SOURCE = (
    BADGES_SOURCE
    + '''
LENT = []

def lend(badge: str):
    """Lend a badge."""
    LENT.append(badge)
    return {"lent": len(LENT), "badge": badge}

def final_state():
    return LENT
'''
)
LENDS = (*BADGE_CALLS, ToolCall("lend", {"badge": "k4711"}))
STATEFUL = replace(
    SOUND,
    question="Lend the badge of the owner of the lamp. Which is it?",
    source=STATE_SOURCE,
    schemas=(OWNER, BADGE, tool("lend", badge="string")),
    solution=Solution(LENDS, "k4711"),
    final_state=["k4711"],
)
LOOK = {"type": "function", "function": {"name": "final_state", "description": "Look.", "parameters": {}}}
STATE_DEFECTS = {
    "another state": {"final_state": ["m1288"]},
    "a state that is there at once": {
        "source": STATE_SOURCE.replace("LENT.append(badge)", "pass").replace('"lent": len(LENT)', '"lent": 1'),
        "final_state": [],
    },
    "no function that tells": {"source": STATE_SOURCE.replace("def final_state", "def _final_state")},
    "a function that raises": {"source": STATE_SOURCE.replace("return LENT", "return LENT[7]")},
    "a state that the model may ask for": {"schemas": (*STATEFUL.schemas, LOOK)},
}

DEFECTS = {
    "no gold solution": ("schema", {"solution": None}),
    "a gold call to an unknown tool": ("schema", {"solution": Solution((*BADGE_CALLS, ToolCall("pay", {})), "k4711")}),
    "a gold argument of the wrong type": (
        "schema",
        {"solution": Solution((ToolCall("find_owner", {"item": 3}),), "k4711")},
    ),
    "parameters that are no JSON Schema": ("schema", {"schemas": (tool("find_owner", item="strnig"), BADGE)}),
    "a source that is not Python": ("signature", {"source": BADGES_SOURCE + "\ndef ("}),
    "a tool without a function": ("signature", {"schemas": (OWNER, BADGE, tool("pay", sum="string"))}),
    "another parameter name": (
        "signature",
        {"schemas": (OWNER, BADGE), "source": BADGES_SOURCE.replace("person", "who")},
    ),
    "another parameter type": ("signature", {"source": BADGES_SOURCE.replace("item: str", "item: int")}),
    "a required parameter with a default": (
        "signature",
        {"source": BADGES_SOURCE.replace("item: str", "item: str = ''")},
    ),
    "a source that does not load": ("derivation", {"source": BADGES_SOURCE + "\n1 / 0\n"}),
    "a gold call that fails": ("derivation", {"source": BADGES_SOURCE.replace('"lamp"', '"sofa"')}),
    "an asserted truth": ("derivation", {"ground_truth": ("k48",), "solution": Solution(BADGE_CALLS, "k48")}),
    "an answer at no place": ("derivation", {"extra": {"solution": {"answer_at": ["number"]}}}),
    "results that differ": (
        "derivation",
        {"source": "import uuid\n" + BADGES_SOURCE.replace('{"badge":', '{"nonce": uuid.uuid4().hex, "badge":')},
    ),
    "a look at the machine": ("source", {"source": "import os\n" + BADGES_SOURCE}),
    "a result too long to read": (
        "derivation",
        {"source": BADGES_SOURCE.replace('{"badge":', '{"story": "x" * 200, "badge":')},
    ),
    "the truth in the question": ("leak", {"question": SOUND.question + " It is not K4711."}),
    "the truth in a docstring": ("leak", {"source": BADGES_SOURCE.replace("Badge of a person", "Badge such as k4711")}),
    "the truth in a schema": ("leak", {"schemas": (OWNER, BADGE | {"example": "k4711"})}),
    "an argument from nowhere": ("copied", {"question": "What is the badge of the owner of the light?"}),
    "one call that tells all": (
        "single_call",
        {"source": BADGES_SOURCE + SHORTCUT, "schemas": (OWNER, BADGE, tool("badge_of_owner", item="string"))},
    ),
    "a call that changes nothing": (
        "needed",
        {"solution": Solution((DESK, *BADGE_CALLS), "k4711"), "question": SOUND.question + " Or of the desk?"},
    ),
    "a hard-coded answer": (
        "data",
        {
            "source": BADGES_SOURCE.replace(
                'return {"badge": BADGES[person]}', 'BADGES[person]\n    return {"badge": "k4711"}'
            )
        },
    ),
}


def found(task: Task, pool=None) -> set[str]:
    return {finding.check for finding in soundness(task, pool or Trusted())}


def test_a_sound_task_has_no_findings_in_this_process_and_in_the_jail(shared_jail):
    assert soundness(SOUND, Trusted()) == []
    assert soundness(SOUND, shared_jail) == []


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found_by_its_check_alone(defect):
    check, changes = DEFECTS[defect]
    assert found(replace(SOUND, **changes)) == {check}


def test_every_check_has_a_planted_defect():
    assert {check for check, _ in DEFECTS.values()} | {"final_state"} == set(CHECKS) and STATE_DEFECTS


def test_a_sound_task_with_a_final_state_has_no_findings_in_this_process_and_in_the_jail(shared_jail):
    assert soundness(STATEFUL, Trusted()) == []
    assert soundness(STATEFUL, shared_jail) == []


@pytest.mark.parametrize("defect", STATE_DEFECTS)
def test_a_planted_defect_of_the_final_state_is_found(defect, shared_jail):
    for pool in (Trusted(), shared_jail):
        assert "final_state" in found(replace(STATEFUL, **STATE_DEFECTS[defect]), pool)


def test_what_the_tools_are_left_in_is_said_beside_what_the_row_expects():
    (finding, *_) = soundness(replace(STATEFUL, final_state=["m1288"]), Trusted())
    assert finding.text == 'the gold calls leave the state ["k4711"], the row expects ["m1288"]'


def test_a_call_that_only_the_state_needs_is_needed():
    assert found(STATEFUL) == set()
    assert found(replace(STATEFUL, final_state=None)) == {"needed"}


def test_planted_defects_are_found_in_the_jail_too(shared_jail):
    for defect in ("a source that does not load", "a gold call that fails", "one call that tells all"):
        check, changes = DEFECTS[defect]
        assert found(replace(SOUND, **changes), shared_jail) == {check}


def test_a_declared_failure_is_no_finding_and_an_undeclared_one_is():
    flaky = BADGES_SOURCE.replace(
        "    return {", "    if not BUSY.pop():\n        raise OSError('retry')\n    return {", 1
    )
    flaky = "BUSY = [True, False]\n" + flaky
    calls = (BADGE_CALLS[0], *BADGE_CALLS)
    task = replace(SOUND, source=flaky, solution=Solution(calls, "k4711"))
    assert found(task) == {"derivation"}
    assert found(replace(task, extra={**SOUND.extra, "calls": [{"fails": True}, {}, {}]})) == set()


def test_without_a_place_the_answer_is_the_only_value_of_the_last_result():
    assert found(replace(SOUND, extra={})) == set()
    two = BADGES_SOURCE.replace('{"badge":', '{"room": 1, "badge":')
    assert found(replace(SOUND, extra={}, source=two)) == {"derivation"}


def test_state_is_data_too():
    source = (
        BADGES_SOURCE.replace('{"Ana": "k4711", "Ben": "m1288"}', "{}")
        + "\ndef setup(state):\n    BADGES.update(state)\n"
    )
    task = replace(SOUND, source=source, state={"Ana": "k4711", "Ben": "m1288"})
    assert found(task) == set()
    _, changed = next(mutations(source, task.state, "k4711", set(task.tool_names)))
    assert changed == {"Ana": "k4711x", "Ben": "m1288"}


def test_an_answer_that_is_added_up_moves_when_a_summand_does():
    source = 'PRICES = {"lamp": 214, "desk": 391}\n'
    source += "def price(item: str):\n    return PRICES[item]\n\ndef total(values: list):\n    return sum(values)\n"
    values = {"type": "object", "properties": {"values": {"type": "array"}}, "required": ["values"]}
    schemas = (tool("price", item="string"), {"type": "function", "function": {"name": "total", "parameters": values}})
    calls = (
        ToolCall("price", {"item": "lamp"}),
        ToolCall("price", {"item": "desk"}),
        ToolCall("total", {"values": [214, 391]}),
    )
    question = "What do the lamp and the desk cost?"
    task = Task("sum", question, source, schemas, ("605",), Solution(calls, "605"))
    assert found(task) == set()
    assert found(replace(task, source=source.replace("sum(values)", "605"))) == {"data"}


def test_a_number_that_is_no_json_and_many_arguments_are_looked_at_without_falling_over():
    many = {f"a{i}": {"type": "string"} for i in range(12)}
    parameters = {"type": "object", "properties": many, "required": list(many)}
    wide = {"type": "function", "function": {"name": "wide", "description": "Wide.", "parameters": parameters}}
    source = (
        BADGES_SOURCE.replace("k4711", "007")
        + f"\ndef wide({', '.join(f'{name}: str' for name in many)}):\n    return 1\n"
    )
    truth = {"ground_truth": ("007",), "solution": Solution(BADGE_CALLS, "007")}
    assert found(replace(SOUND, source=source, schemas=(OWNER, BADGE, wide), **truth)) == set()


def test_an_async_tool_is_a_function_too():
    assert list(disagreements("async def look(item: str): return 1", [tool("look", item="string")])) == []
