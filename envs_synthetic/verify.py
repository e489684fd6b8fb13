"""verify: what a data point must prove before it is kept. A check yields texts of what is wrong; it does not raise.

Static checks read the row; the others play its solution in a pool: the jail, or `play.Trusted` for sources made here.
Stricter than `recall-env check` (recall_env/check), with which it shares its parts: there an answer may be worked out,
an argument come from the model's head. Nothing here knows how a task was made.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from envs_synthetic.play import replay_rebound
from recall_env.check.gold_calls import PlanError, as_bytes, derive, expected_failures, heard, leaves, mentions, replay
from recall_env.check.other_data import mutations
from recall_env.check.probes import first_calls
from recall_env.check.signature import disagreements
from recall_env.check.static import read_before, schema_faults
from recall_env.errors import EnvError
from recall_env.gate import findings
from recall_env.rubric import Episode, StateEquals
from recall_env.schema import function_of
from recall_env.task import Task
from recall_env.tool_call import ToolCall, ToolResult

__all__ = ["CHECKS", "GATES", "Finding", "soundness"]

MAX_RESULT_CHARS = 160
MAX_PROBES = 6
LOOK = ToolCall(StateEquals().function, {})  # how the environment asks for the state after the last turn


@dataclass(frozen=True)
class Finding:
    """What one check says about one task."""

    check: str  # a key of CHECKS
    text: str  # one line: what is wrong


class Bench:
    """A task under test: its gold calls are played once and the results kept."""

    def __init__(self, task: Task, pool: Any) -> None:
        self.task = task
        self.pool = pool

    @cached_property
    def gold(self) -> list[ToolResult]:
        return replay(self.task, self.pool)

    def state_after(self, calls: Sequence[ToolCall]) -> ToolResult:
        """What the source's final_state() returns after these calls, in an episode of its own."""
        return replay(self.task, self.pool, [*calls, LOOK])[-1]


def soundness(task: Task, pool: Any) -> list[Finding]:
    """Every finding about one task; none means that it is kept. Raises SandboxFailure when the jail itself fails.

    The checks after one in GATES build on it, and are left out when it found something.
    """
    found: list[Finding] = []
    bench = Bench(task, pool)
    for name, check in CHECKS.items():
        try:
            found += [Finding(name, text) for text in check(task, bench)]
        except EnvError as error:
            found.append(Finding(name, f"the source does not load: {error}"))
        if found and name in GATES:
            break
    return found


def schema(task: Task, bench: Bench) -> Iterator[str]:
    """Schemas are JSON Schema, and the gold calls fit them."""
    if task.solution is None or not task.solution.calls:
        yield "there is no gold solution"
        return
    yield from schema_faults(task)


def signature(task: Task, bench: Bench) -> Iterator[str]:
    """Every schema says what the source's function takes."""
    yield from disagreements(task.source, task.schemas)


def source(task: Task, bench: Bench) -> Iterator[str]:
    """The tools' source passes the gate: no imports, names or attributes that no tool has reason to use."""
    yield from map(str, findings(task.source))


def derivation(task: Task, bench: Bench) -> Iterator[str]:
    """The gold replay succeeds, twice with the same bytes, and the truth comes out of its last result."""
    results = bench.gold
    for number, (result, fails) in enumerate(zip(results, expected_failures(task), strict=True)):
        if result.status != ("tool_error" if fails else "ok"):
            reason = f": {result.error_type}: {result.error_message}" if result.error_type else ""
            yield f"gold call {number} ({task.solution.calls[number].name}) came back as {result.status}{reason}"
        if len(json.dumps(result.value)) > MAX_RESULT_CHARS:
            yield f"the result of gold call {number} is longer than {MAX_RESULT_CHARS} characters"
    if as_bytes(replay(task, bench.pool)) != as_bytes(results):
        yield "two replays of the gold calls gave different results"
    try:
        derived = derive(task, results)
    except PlanError as error:
        yield f"the answer cannot be derived: {error}"
        return
    if (derived,) != task.ground_truth or derived != task.solution.answer:
        yield f"the replay derives {derived!r}, the row says {task.ground_truth} and {task.solution.answer!r}"


def final_state(task: Task, bench: Bench) -> Iterator[str]:
    """Where the row declares a final state, the gold calls lead to it, doing nothing does not, and no tool shows it."""
    if task.final_state is None:
        return
    if LOOK.name in task.tool_names:
        yield f"a schema shows the model {LOOK.name}, which is for rubrics alone"
        return
    reached = bench.state_after(task.solution.calls)
    if not reaches(task, reached):
        left = reached.value if reached.ok else reached.error_message or reached.status
        yield f"the gold calls leave the state {json.dumps(left)}, the row expects {json.dumps(task.final_state)}"
    if reaches(task, bench.state_after(())):
        yield "the expected state is there before any call"


def reaches(task: Task, state: ToolResult) -> bool:
    """Whether a state is the expected one, as the rubric's StateEquals has it."""
    known = state.status != "unknown_tool"  # which there would be the author's error, and here is a finding
    return known and StateEquals()(Episode(task, (), None, "answer", {LOOK.name: state})) == 1.0


def leak(task: Task, bench: Bench) -> Iterator[str]:
    """The truth stands nowhere that the model reads before it calls."""
    truth = task.ground_truth[0].lower()
    for place, text in read_before(task).items():
        if mentions(text.lower(), truth):
            yield f"the truth {truth!r} stands in {place}"


def copied(task: Task, bench: Bench) -> Iterator[str]:
    """Every gold argument is copied from the question, an enum, or an earlier result: nothing is worked out."""
    seen = [task.question, *enums(task)]
    for number, (call, result) in enumerate(zip(task.solution.calls, bench.gold, strict=True)):
        for argument in leaves(call.arguments, keys=False):
            if not any(mentions(text, argument) for text in seen):
                yield f"gold call {number} ({call.name}): {argument!r} stands in no earlier text"
        seen += heard(result)


def single_call(task: Task, bench: Bench) -> Iterator[str]:
    """No one call with arguments from the question gives the truth."""
    for probe in first_calls(task, MAX_PROBES):
        if says(replay(task, bench.pool, [probe])[0], task.ground_truth[0]):
            yield f"{probe.name}({json.dumps(probe.arguments)}) alone gives the truth"


def needed(task: Task, bench: Bench) -> Iterator[str]:
    """Without any one gold call the rest cannot be made, or ends elsewhere: in another answer, or another state."""
    calls = task.solution.calls
    for left_out, call in enumerate(calls):
        if not any(says(result, task.ground_truth[0]) for result in play_without(task, bench, left_out)):
            continue
        rest = (*calls[:left_out], *calls[left_out + 1 :])
        if task.final_state is None or reaches(task, bench.state_after(rest)):
            yield f"gold call {left_out} ({call.name}) is not needed: the truth comes without it"


def play_without(task: Task, bench: Bench, left_out: int) -> list[ToolResult]:
    """The results of the gold calls but one; of the later ones, those whose arguments can still be known are made."""
    before, after = task.solution.calls[:left_out], task.solution.calls[left_out + 1 :]
    told = bench.gold[:left_out]
    seen = [task.question, *enums(task), *(text for result in told for text in heard(result))]
    if not any(copies(call, seen) for call in after):
        return told
    session = bench.pool.open(task.source, state=task.state, seed=0)
    try:
        for call in before:
            session.call(call.name, call.arguments)
        for call in after:
            if copies(call, seen):
                told = [*told, session.call(call.name, call.arguments)]
                seen += heard(told[-1])
    finally:
        session.close()
    return told


def copies(call: ToolCall, seen: list[str]) -> bool:
    """Could every argument be copied from the texts seen?"""
    return all(any(mentions(text, atom) for text in seen) for atom in leaves(call.arguments, keys=False))


def data(task: Task, bench: Bench) -> Iterator[str]:
    """Other data in the same source gives another answer: nothing is hard-coded in a tool."""
    names = {function_of(schema)["name"] for schema in task.schemas}
    for source, state in mutations(task.source, task.state, task.ground_truth[0], names):
        other = replace(task, source=source, state=state)
        try:
            results = replay_rebound(other, bench.pool, bench.gold)
            as_told = zip(results, expected_failures(task), strict=True)
            if all(r.status == ("tool_error" if f else "ok") for r, f in as_told):
                if derive(other, results) != task.ground_truth[0]:
                    return
        except (EnvError, PlanError):
            continue  # data that no longer loads proves nothing
    yield "the answer stays the same, or nothing can be played, when the data changes"


# By name, in the order they run: (task, bench) -> texts of what is wrong.
CHECKS = {
    "schema": schema,
    "signature": signature,
    "source": source,
    "derivation": derivation,
    "final_state": final_state,
    "leak": leak,
    "copied": copied,
    "single_call": single_call,
    "needed": needed,
    "data": data,
}
GATES = ("schema", "signature", "derivation")  # where one of these finds something, the checks after it are left out


def enums(task: Task) -> list[str]:
    properties = [function_of(s).get("parameters", {}).get("properties", {}) for s in task.schemas]
    return [str(value) for tool in properties for one in tool.values() for value in one.get("enum", ())]


def says(result: ToolResult, truth: str) -> bool:
    return any(mentions(text, truth) for text in heard(result))
