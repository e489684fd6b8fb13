"""mutation: change one constant of source or state at a time; does any gold result change? It warns, it never condemns.

Some constants cannot matter (the price of what nobody asks for), so those that show in the gold episode come first,
and no score is wrong in itself. But where no datum matters, the answer is written into a tool.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from recall_env.check.bench import CALL_TIMEOUT_S, Bench, Note, doubt, shows
from recall_env.check.gold_calls import Path, PlanError, answer_text, as_bytes, heard, leaves, mentions, places, rebound
from recall_env.check.other_data import mutations
from recall_env.check.signature import Function
from recall_env.errors import EnvError
from recall_env.task import Task

MOST = 24  # mutants of one task


@dataclass(frozen=True)
class Site:
    """Where a constant stands: the number of its node in the source's tree, or its path in the state."""

    node: int | None
    path: Path
    value: int | float | str
    is_data: bool  # of the state, or outside the functions


def mutation(bench: Bench) -> Iterator[Note]:
    """Data decide the answer: of the constants of source and state, changed one at a time, some change it."""
    task = bench.task
    if not task.solution or not task.solution.calls:
        return
    there = _in_order(bench, list(sites(task)))
    drawn = there[:MOST]
    changes = [(site, *_changes(bench, *mutated(task, site))) for site in drawn]
    killed = sum(any_result for _, any_result, _ in changes)
    bench.figures["mutants"] = {"killed": killed, "of": len(drawn), "constants": len(there)}
    if drawn and not killed:
        yield doubt(f"none of {len(drawn)} changed constants changes a gold result")
    elif any(site.is_data for site in there) and not any(answer for site, _, answer in changes if site.is_data):
        # One constant may be a whole table as text; so all data at once, before anything is said.
        others = mutations(task.source, task.state, task.ground_truth[0], set(task.tool_names))
        if not any(_changes(bench, *other)[1] for other in others):
            yield doubt("the answer stays the same when the data change: it is written into a tool")


def sites(task: Task) -> Iterator[Site]:
    """Numbers and texts of state and source; not docstrings, f-strings, truth values, or tools the solution leaves."""
    for path, value in places(task.state):
        if _is_constant(value):
            yield Site(None, path, value, True)
    tree = ast.parse(task.source)
    unused = set(task.tool_names) - {call.name for call in task.solution.calls} - _used(tree)
    inner, left_out = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.Lambda):
            inner |= {id(child) for child in ast.walk(node)}
        if isinstance(node, Function) and node.name in unused:
            left_out |= {id(child) for child in ast.walk(node)}
        if isinstance(node, ast.JoinedStr):
            left_out |= {id(child) for child in ast.walk(node)}
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out.add(id(node.value))
    for number, node in enumerate(ast.walk(tree)):
        if isinstance(node, ast.Constant) and id(node) not in left_out and _is_constant(node.value):
            yield Site(number, (), node.value, id(node) not in inner)


def _used(tree: ast.Module) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _is_constant(value: Any) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool) and value != ""


def _in_order(bench: Bench, there: list[Site]) -> list[Site]:
    """Those whose constant shows in the gold episode first, each kind in an order that is drawn."""
    task = bench.task
    told = [text for call in task.solution.calls for text in leaves(call.arguments)]
    told += [text for result in bench.gold for text in heard(result)]
    text = "\n".join([task.question, *told])
    drawn = bench.random.sample(there, len(there))
    return sorted(drawn, key=lambda site: not mentions(text, answer_text(site.value)))


def _changes(bench: Bench, source: str, state: Any) -> tuple[bool, bool]:
    """Whether the mutant changes any gold result, and whether it plays on and changes one that shows the answer."""
    try:
        with bench.session(source=source, state=state) as session:
            results = rebound(session, bench.task, bench.gold, CALL_TIMEOUT_S)
    except (EnvError, PlanError):
        return True, False
    changed = [as_bytes([one]) != as_bytes([other]) for one, other in zip(bench.gold, results, strict=True)]
    showing = [any(shows(result, truth) for truth in bench.task.ground_truth) for result in bench.gold]
    answer = [one for one, shows_it in zip(changed, showing, strict=True) if shows_it] or changed
    plays_on = all(one.status == other.status for one, other in zip(bench.gold, results, strict=True))
    return any(changed), plays_on and any(answer)


def mutated(task: Task, site: Site) -> tuple[str, Any]:
    """(source, state) with the one constant changed."""
    other = _other_text(site.value) if isinstance(site.value, str) else site.value + 1
    if site.node is not None:
        tree = ast.parse(task.source)
        next(node for number, node in enumerate(ast.walk(tree)) if number == site.node).value = other
        return ast.unparse(tree), task.state
    if not site.path:
        return task.source, other
    state = copy.deepcopy(task.state)
    inside = state
    for key in site.path[:-1]:
        inside = inside[key]
    inside[site.path[-1]] = other
    return task.source, state


def _other_text(text: str) -> str:
    """Another text of the same form where it ends in a number or a date, so that it can still be read as one."""
    if text[-1] in "0123456789":
        return text[:-1] + ("1" if text[-1] == "0" else "2" if text[-1] == "1" else str(int(text[-1]) - 1))
    return text + "x"
