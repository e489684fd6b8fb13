"""The same source with other data: does the answer move with it?

Data is every literal outside the tools' own functions, and the state. First the truth itself is replaced wherever it
stands in the data; then, for truths that are worked out, all numbers and dates are shifted.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

NUMBER = re.compile(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w.]|-\d)")
DATE = re.compile(r"(?<!\d)(\d{4})-(\d\d)-(\d\d)(?!\d)")


def mutations(source: str, state: Any, truth: str, tools: set[str]) -> Iterator[tuple[str, Any]]:
    """(source, state) pairs that differ from the given ones, the likeliest to stay playable first."""
    for change in (swap_truth(truth), shift_numbers):
        literals = Literals(change, tools)
        tree = literals.visit(ast.parse(source))
        other_state = changed(state, change)
        if literals.changed or other_state != state:
            yield ast.unparse(tree), other_state


class Literals(ast.NodeTransformer):
    """Changes the literals of a module, those inside the tools' functions excepted."""

    def __init__(self, change: Callable[[Any], Any], tools: set[str]) -> None:
        self.change = change
        self.tools = tools
        self.changed = False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node if node.name in self.tools else self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return node  # f-strings hold code, not data

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        other = self.change(node.value)
        if other == node.value:
            return node
        self.changed = True
        return ast.copy_location(ast.Constant(other), node)


def changed(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: changed(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [changed(item, change) for item in value]
    return change(value)


def _is_json(text: str) -> bool:
    """007 is a number to people alone."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def swap_truth(truth: str) -> Callable[[Any], Any]:
    """Replaces the truth by something of its own kind."""
    if DATE.fullmatch(truth):
        other = shift_numbers(truth)
    elif NUMBER.fullmatch(truth) and _is_json(truth):
        other = json.dumps(json.loads(truth) + 7)
    else:
        other = truth + "x"
    pattern = re.compile(rf"(?<!\w){re.escape(truth)}(?!\w)")

    def change(value: Any) -> Any:
        if isinstance(value, str):
            return pattern.sub(lambda _: other, value)
        if isinstance(value, int | float) and not isinstance(value, bool) and json.dumps(value) == truth:
            return json.loads(other)
        return value

    return change


def shift_numbers(value: Any) -> Any:
    """Every number from 10 on and every date, moved unevenly; smaller numbers are mostly counters and indices."""
    if isinstance(value, str):
        dated = DATE.sub(lambda m: f"{int(m[1]) + 1}-{m[2]}-{(int(m[3]) * 5 + int(m[2])) % 28 + 1:02d}", value)
        if dated != value:
            return dated
        return NUMBER.sub(lambda m: json.dumps(shift_numbers(json.loads(m[0]))) if m[0][0] != "0" else m[0], value)
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 10:
        return value + 2 + int(value) % 7 * 3
    return value
