"""Do schemas and source agree? Read from the syntax tree alone: nothing runs."""

import ast
from collections.abc import Iterator, Sequence
from typing import Any

from recall_env.schema import function_of

# what an annotation promises -> the JSON Schema types that keep it
ANNOTATIONS = {
    "str": {"string"},
    "int": {"integer"},
    "float": {"number", "integer"},
    "bool": {"boolean"},
    "list": {"array"},
    "dict": {"object"},
}


def disagreements(source: str, schemas: Sequence[dict[str, Any]]) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        yield f"the source is not Python: {error.msg} in line {error.lineno}"
        return
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for tool in map(function_of, schemas):
        if tool["name"] not in functions:
            yield f"tool {tool['name']!r}: the source defines no such function"
            continue
        parameters = tool.get("parameters", {})
        for text in compare(
            functions[tool["name"]].args, parameters.get("properties", {}), parameters.get("required", [])
        ):
            yield f"tool {tool['name']!r}: {text}"


def compare(args: ast.arguments, properties: dict[str, Any], required: Sequence[str]) -> Iterator[str]:
    if args.vararg or args.kwarg or args.posonlyargs:
        yield "the function must take plain named parameters"
        return
    plain = [*args.args, *args.kwonlyargs]
    optional = {arg.arg for arg in args.args[len(args.args) - len(args.defaults) :]}
    optional |= {arg.arg for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True) if default is not None}
    names = {arg.arg for arg in plain}
    if names != set(properties):
        yield f"the schema lists {sorted(properties)}, the function takes {sorted(names)}"
    elif names - optional != set(required):
        yield f"the schema requires {sorted(required)}, the function {sorted(names - optional)}"
    for arg in plain:
        base = arg.annotation.value if isinstance(arg.annotation, ast.Subscript) else arg.annotation
        allowed = ANNOTATIONS.get(base.id) if isinstance(base, ast.Name) else None
        said = properties.get(arg.arg, {}).get("type")
        if allowed and isinstance(said, str) and said not in allowed:
            yield f"parameter {arg.arg!r} is {base.id} in the source and {said} in the schema"


def docstrings(source: str) -> list[str]:
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.Module)]
    return [text for text in map(ast.get_docstring, nodes) if text]
