"""Checks that read a task and run nothing: schemas, signatures, the gate, and where the answer can be read."""

import ast
import io
import tokenize
from collections.abc import Iterator

from recall_env.check.bench import Bench, Note, doubt, fault, telling
from recall_env.check.gold_calls import leaves, mentions
from recall_env.check.signature import disagreements, docstrings, functions_of, unannounced
from recall_env.errors import TaskError
from recall_env.schema import argument_error, check_parameters, function_of
from recall_env.task import Task

_OWN_SCOPE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def schema(bench: Bench) -> Iterator[Note]:
    """Every tool's parameters are a JSON Schema, its name can be called, and the gold calls fit."""
    yield from map(fault, schema_faults(bench.task))
    for tool in map(function_of, bench.task.schemas):
        if not (tool.get("description") or "").strip():
            yield doubt(f"tool {tool['name']!r} has no description")
    if not bench.task.schemas:
        yield fault("the task has no tool")


def schema_faults(task: Task) -> Iterator[str]:
    parameters = {}
    for tool in map(function_of, task.schemas):
        name, parameters[tool["name"]] = tool["name"], tool.get("parameters") or {}
        try:
            check_parameters(name, parameters[name])
        except TaskError as error:
            yield str(error)
            return
        if not name.isidentifier():
            yield f"tool {name!r}: expected a name that Python takes"
        if parameters[name].get("type", "object") != "object":
            yield f"tool {name!r}: parameters are of type {parameters[name]['type']!r}, expected 'object'"
        listed = set(parameters[name].get("properties", {}))
        for unknown in sorted(set(parameters[name].get("required", [])) - listed):
            yield f"tool {name!r}: requires {unknown!r}, which is not among its properties"
    for number, call in enumerate(task.solution.calls if task.solution else ()):
        wrong = argument_error(parameters[call.name], call.arguments) if call.name in parameters else "no such tool"
        if wrong:
            yield f"gold call {number} ({call.name}): {wrong}"


def signature(bench: Bench) -> Iterator[Note]:
    """Every schema says what the source's function takes."""
    found = list(disagreements(bench.task.source, bench.task.schemas))
    yield from map(fault, found)
    if not any("not Python" in text for text in found):
        looked_at = {"final_state"} if bench.task.final_state is not None else set(bench.env.rubric.state_functions)
        forgotten = unannounced(bench.task.source, bench.task.schemas)
        for name in (name for name in forgotten if name not in looked_at):
            yield doubt(f"function {name!r} is neither announced by a schema nor used")


def gate(bench: Bench) -> Iterator[Note]:
    """The tools' source passes the gate: no imports, names or attributes that no tool has reason to use."""
    from recall_env.gate import ALLOWED_IMPORTS, findings  # RestrictedPython is not quick to import

    allowed = ALLOWED_IMPORTS | {"requests"} if bench.task.services else ALLOWED_IMPORTS
    yield from (fault(str(finding)) for finding in findings(bench.task.source, allowed))


def leak(bench: Bench) -> Iterator[Note]:
    """The answer stands nowhere that the model reads before it calls, and no tool gives it whatever it is asked."""
    task = bench.task
    try:
        places = read_before(task)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # not Python, which `signature` says
    comments = " ".join(_comments(task.source)).casefold()
    for truth in task.ground_truth:
        note = fault if telling(truth) else doubt
        for place, text in places.items():
            if mentions(text.casefold(), truth.casefold()):
                yield note(f"the answer {truth!r} stands in {place}")
        for name in _always(task, truth):
            yield note(f"tool {name!r} returns the answer {truth!r} whatever it is asked")
        if telling(truth) and mentions(comments, truth.casefold()):
            yield doubt(f"the answer {truth!r} stands in a comment of the source")


def read_before(task: Task) -> dict[str, str]:
    """What the model reads, or may be shown, before its first call: place -> text."""
    return {
        "the question": task.question,
        "a schema": " ".join(leaves(list(task.schemas))),
        "a docstring": " ".join(docstrings(task.source)),
    }


def _comments(source: str) -> Iterator[str]:
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield token.string
    except (tokenize.TokenError, SyntaxError):  # ast takes some sources that tokenize does not
        return


def _always(task: Task, truth: str) -> Iterator[str]:
    """Tools with one return, of a constant that holds the answer."""
    functions = functions_of(ast.parse(task.source))
    for name in task.tool_names:
        returns = _returns(functions[name].body) if name in functions else []
        if len(returns) != 1 or returns[0].value is None:
            continue
        try:
            value = ast.literal_eval(returns[0].value)
        except ValueError:
            continue
        if truth.casefold() in [text.casefold() for text in leaves(_jsonable(value), keys=False)]:
            yield name


def _jsonable(value: object) -> object:
    return [_jsonable(item) for item in value] if isinstance(value, tuple | set) else value


def _returns(body: list[ast.stmt]) -> list[ast.Return]:
    found, todo = [], list(body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Return):
            found.append(node)
        elif not isinstance(node, _OWN_SCOPE):
            todo.extend(ast.iter_child_nodes(node))
    return found
