"""Do schemas and source agree? Read from the syntax tree alone: nothing runs."""

import ast
from collections.abc import Iterator, Sequence
from typing import Any

from recall_env.schema import function_of

Function = ast.FunctionDef | ast.AsyncFunctionDef

# what an annotation promises -> the JSON Schema types that keep it
ANNOTATIONS = {
    "str": {"string"},
    "int": {"integer"},
    "float": {"number", "integer"},
    "bool": {"boolean"},
    "list": {"array"},
    "dict": {"object"},
    "List": {"array"},
    "Dict": {"object"},
}
_NO_DEFAULT = object()


def disagreements(source: str, schemas: Sequence[dict[str, Any]]) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f"{error.msg} in line {error.lineno}" if isinstance(error, SyntaxError) else type(error).__name__
        yield f"the source is not Python: {where}"
        return
    functions, others = functions_of(tree), assigned(tree)
    for tool in map(function_of, schemas):
        name = tool["name"]
        if name not in functions:
            if name not in others:  # `f = partial(...)` is a function too; of its arguments the text does not tell
                yield f"tool {name!r}: the source defines no such function"
            continue
        if name.startswith("_") or name == "setup":
            yield f"tool {name!r}: a name that no call can reach"
        parameters = tool.get("parameters") or {}
        for text in compare(functions[name].args, parameters.get("properties", {}), parameters.get("required", [])):
            yield f"tool {name!r}: {text}"


def compare(args: ast.arguments, properties: dict[str, Any], required: Sequence[str]) -> Iterator[str]:
    if args.vararg or args.posonlyargs:
        yield "the function must take named parameters: calls give every argument by its name"
        return
    defaults = _defaults(args)
    names, optional = set(defaults), {name for name, default in defaults.items() if default is not _NO_DEFAULT}
    beyond = set(properties) - names if args.kwarg else set()
    if names != set(properties) - beyond:
        yield f"the schema lists {sorted(properties)}, the function takes {sorted(names)}"
    elif names - optional != set(required) - beyond:
        yield f"the schema requires {sorted(required)}, the function {sorted(names - optional)}"
    for arg in [*args.args, *args.kwonlyargs]:
        promised, said = _promised(arg.annotation), _said(properties.get(arg.arg))
        if promised and said and not said <= promised:
            hint, types = ast.unparse(arg.annotation), " or ".join(sorted(said))
            yield f"parameter {arg.arg!r} is {hint} in the source and {types} in the schema"
        yield from _other_default(arg.arg, defaults[arg.arg], properties.get(arg.arg))


def unannounced(source: str, schemas: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Public functions that no schema announces and the source itself does not use: tools that were forgotten."""
    tree = ast.parse(source)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    announced = {function_of(schema)["name"] for schema in schemas}
    for name in functions_of(tree):
        if not name.startswith("_") and name != "setup" and name not in announced | used:
            yield name


def docstrings(source: str) -> list[str]:
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, Function | ast.ClassDef | ast.Module)]
    return [text for text in map(ast.get_docstring, nodes) if text]


def functions_of(tree: ast.Module) -> dict[str, Function]:
    """The functions of the module itself, those under `if` and `try` included; of one name the last counts."""
    return {node.name: node for node in _top_level(tree.body) if isinstance(node, Function)}


def assigned(tree: ast.Module) -> set[str]:
    names = set()
    for node in _top_level(tree.body):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return names


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While):
            blocks = [node.body, getattr(node, "orelse", []), getattr(node, "finalbody", [])]
            blocks += [handler.body for handler in getattr(node, "handlers", [])]
            for block in blocks:
                yield from _top_level(block)


def _defaults(args: ast.arguments) -> dict[str, Any]:
    """Every parameter's default: its syntax, or _NO_DEFAULT."""
    bare = [_NO_DEFAULT] * (len(args.args) - len(args.defaults))
    found = {arg.arg: default for arg, default in zip(args.args, [*bare, *args.defaults], strict=True)}
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        found[arg.arg] = _NO_DEFAULT if default is None else default
    return found


def _promised(annotation: ast.expr | None) -> set[str]:
    """The JSON types an annotation allows; nothing when it does not say, or says more than can be read here."""
    match annotation:
        case ast.Constant(value=None):
            return {"null"}
        case ast.Name(id=name):
            return ANNOTATIONS.get(name, set())
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _either([left, right])
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return _either([inner, ast.Constant(None)])
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=parts)):
            return _either(parts)
        case ast.Subscript(value=base):
            return _promised(base)
    return set()


def _either(parts: list[ast.expr]) -> set[str]:
    each = [_promised(part) for part in parts]
    return set().union(*each) if all(each) else set()


def _said(schema: Any) -> set[str]:
    kind = schema.get("type") if isinstance(schema, dict) else None
    return {kind} if isinstance(kind, str) else set(kind or ())


def _other_default(name: str, default: Any, schema: Any) -> Iterator[str]:
    if default is _NO_DEFAULT or not isinstance(schema, dict) or "default" not in schema:
        return
    try:
        value = ast.literal_eval(default)
    except ValueError:
        return
    if value != schema["default"]:
        yield f"parameter {name!r} defaults to {value!r} in the source and to {schema['default']!r} in the schema"
