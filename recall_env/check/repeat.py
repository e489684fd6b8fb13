"""Checks of sameness: other processes, other episodes before and beside, another seed of clock and chance."""

import ast
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from recall_env.check.bench import CALL_TIMEOUT_S, Bench, Note, doubt, fault, shown, shows
from recall_env.check.gold_calls import as_bytes
from recall_env.check.robust import odd_calls
from recall_env.errors import SandboxFailure
from recall_env.schema import function_of
from recall_env.tool_call import ToolResult

BESIDE = 4  # episodes at a time
OTHER_SEEDS = (1, 20_250_704)
DISTURBING_CALLS = 40


def processes(bench: Bench) -> Iterator[Note]:
    """The same seed gives the same bytes in three processes with different hash seeds."""
    if bench.players is None or not bench.task.solution:  # nobody to compare, nothing to play
        return
    seen = bench.players.play(bench.task, bench.settings.budget_s)
    for other in seen[1:]:
        if other != seen[0]:
            at = next((n for n, pair in enumerate(zip(seen[0], other, strict=False)) if pair[0] != pair[1]), len(other))
            mine, theirs = (shown(parts[at] if at < len(parts) else "nothing", 80) for parts in (seen[0], other))
            yield fault(f"step {at} of the gold episode differs between processes: {mine} and {theirs}")
            return


def isolation(bench: Bench) -> Iterator[Note]:
    """An episode beside and after one that did all it could is the same as one alone."""
    if not bench.task.solution:
        return
    alone = bench.gold
    with bench.session(seed=3) as disturbing:
        _disturb(bench, disturbing)
        beside = bench.replay(bench.task.solution.calls)
    after = bench.replay(bench.task.solution.calls)
    for when, results in (("beside", beside), ("after", after)):
        yield from _differences(bench, alone, results, f"{when} another episode")


def _disturb(bench: Bench, session) -> None:
    for call in bench.task.solution.calls:
        session.call(call.name, call.arguments, CALL_TIMEOUT_S)
    for tool in map(function_of, bench.task.schemas):
        for call in odd_calls(bench.task, tool, DISTURBING_CALLS):
            try:
                if session.call(call.name, call.arguments, CALL_TIMEOUT_S).status not in ("ok", "tool_error"):
                    return
            except SandboxFailure:  # `arguments` says so
                return


def concurrent(bench: Bench) -> Iterator[Note]:
    """Episodes played at once are the same as one played alone."""
    if not bench.task.solution:
        return
    calls = bench.task.solution.calls
    with ExitStack() as stack, ThreadPoolExecutor(BESIDE) as threads:
        sessions = [stack.enter_context(bench.session()) for _ in range(BESIDE)]
        results: list[list[ToolResult]] = [[] for _ in sessions]
        for call in calls:  # all at the same call, so that they are in each other's way
            made = threads.map(lambda session, call=call: session.call(call.name, call.arguments), sessions)
            for kept, result in zip(results, made, strict=True):
                kept.append(result)
    for one in results:
        found = list(_differences(bench, bench.gold, one, f"when {BESIDE} are played at once"))
        yield from found
        if found:
            return


def world(bench: Bench) -> Iterator[Note]:
    """No clock, chance, network or file decides the answer: another seed of the episode leads to the same."""
    task = bench.task
    yield from map(fault, _files(task.source))
    if not task.solution or not task.solution.calls:
        return
    expected = [any(shows(result, truth) for truth in task.ground_truth) for result in bench.gold]
    for seed in OTHER_SEEDS:
        results = bench.replay(task.solution.calls, seed=seed)
        if as_bytes(results) == as_bytes(bench.gold):
            continue
        at = next(n for n, pair in enumerate(zip(bench.gold, results, strict=True)) if pair[0] != pair[1])
        here, there = bench.gold[at], results[at]
        text = f"gold call {at} depends on the clock or on chance: {_told(here)}, then {_told(there)}"
        reached = [any(shows(result, truth) for truth in task.ground_truth) for result in results]
        same_status = [a.status == b.status for a, b in zip(bench.gold, results, strict=True)]
        yield doubt(text) if reached == expected and any(expected) and all(same_status) else fault(text)
        return


def _files(source: str) -> Iterator[str]:
    """Databases on disk: the gate lets sqlite3 through for the ones in memory."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            first = node.args[0] if node.args else None
            owner = node.func.value if isinstance(node.func, ast.Attribute) else None
            ours = owner is None or (isinstance(owner, ast.Name) and owner.id == "sqlite3")
            if name == "connect" and ours and isinstance(first, ast.Constant) and first.value not in (":memory:", ""):
                yield f"line {node.lineno}: a database in the file {first.value!r}; write ':memory:'"


def _differences(bench: Bench, alone: list[ToolResult], results: list[ToolResult], when: str) -> Iterator[Note]:
    for number, (one, other) in enumerate(zip(alone, results, strict=True)):
        if as_bytes([one]) != as_bytes([other]):
            yield fault(f"gold call {number} gives {_told(one)} alone and {_told(other)} {when}")
            return


def _told(result: ToolResult) -> str:
    value = result.value if result.ok else f"{result.status} {result.error_message or ''}".strip()
    return shown(value, 60)
