"""The source that enters the jail: what a ToolEnv's tools use of their file, and a function for each tool.

Only what the tools reach goes in: the class without its host's half (`tasks`, `rubric`, the base, the decorators), and
the statements of the file's top level that define or change something it uses, one after another. So a rubric, the
tasks and a comment stay outside by construction. What cannot be had in the jail is refused here, by file and line.
"""

import ast
import builtins
import symtable
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from recall_env.hints import Kind
from recall_env.tool_schema import Signature

HOST_ATTRIBUTES = ("tasks", "rubric")
HOOKS = {"setup": "state", "final_state": ""}  # methods that are no tools, and what the host calls them with
_ANSWERS = ("ground_truth", "solution")
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
_DEFINITIONS = (*_NAMED, ast.Assign, ast.AnnAssign, ast.TypeAlias)
_GIVEN = frozenset(dir(builtins)) | {"__annotations__", "__class__", "__module__", "__qualname__"}


class SourceError(ValueError):
    """A file of which no source for the jail can be made. line: in that file."""

    def __init__(self, line: int, text: str):
        super().__init__(text)
        self.line = line


@dataclass(frozen=True)
class Tools:
    """What the schemas' side knows. host_classes: the ToolEnv classes of the file among its bases, itself included."""

    class_name: str
    host_classes: frozenset[str]
    signatures: tuple[Signature, ...]
    records: dict[type, dict[str, Kind]]
    record_names: dict[type, str]
    hooks: dict[str, str]  # method -> "def" or "async def": setup(state) and final_state(), where there are any


@dataclass(frozen=True)
class _Statement:
    node: ast.stmt
    binds: frozenset[str]
    uses: frozenset[str]

    @property
    def is_definition(self) -> bool:
        """Gives names their meaning; anything else at the top level changes what others defined."""
        targets = self.node.targets if isinstance(self.node, ast.Assign) else []
        return isinstance(self.node, _DEFINITIONS) and all(map(_is_plain, targets))


def jail_source(text: str, tools: Tools) -> str:
    """The source, as a row has it. Raises SourceError."""
    tree = ast.parse(text)
    host = dict(_host_names(tree))
    statements = [_statement(node) for node in _inside(tree, host, tools.host_classes)]
    roots = {tools.class_name, *(record.__qualname__.partition(".")[0] for record in _classes_of(tools))}
    kept = _reached(statements, roots)
    _check(kept, host, statements)
    made = _functions(tools, kept)
    future = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    nodes = [*future, *(one.node for one in kept)]
    blocks = [
        ast.unparse(node) + ("" if _is_import(node) and _is_import(after) else "\n") for node, after in pairwise(nodes)
    ]
    return "\n".join([*blocks, ast.unparse(nodes[-1]) + "\n", "\n\n".join(made)]) + "\n"


def _host_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(name in the file, its own name) of what the file has from recall_env."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom) and _is_ours(node):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], alias.name


def _is_ours(node: ast.Import | ast.ImportFrom) -> bool:
    modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return all(module.partition(".")[0] == "recall_env" for module in modules)


def _inside(tree: ast.Module, host: dict[str, str], classes: frozenset[str]) -> Iterator[ast.stmt]:
    """The top level, with what is the host's taken off."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom) and _is_ours(node):
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            continue
        if isinstance(node, ast.If) and any(
            isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(node.test)
        ):
            continue
        yield _without_host(node, host) if isinstance(node, ast.ClassDef) and node.name in classes else node


def _without_host(node: ast.ClassDef, host: dict[str, str]) -> ast.ClassDef:
    """The class without ToolEnv, @tool, tasks and rubric; a method under another decorator of ours is the host's."""
    node.bases = [base for base in node.bases if not _named_by(base, host)]
    node.keywords = []
    kept = []
    for part in node.body:
        decorators = part.decorator_list if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) else []
        ours = [one for one in decorators if _named_by(one, host)]
        if _assigns(part, HOST_ATTRIBUTES) or any(_named_by(one, host) != "tool" for one in ours):
            continue
        for one in ours:
            decorators.remove(one)
        kept.append(part)
    node.body = kept or [ast.Pass()]
    return node


def _named_by(node: ast.expr, host: dict[str, str]) -> str | None:
    """What of recall_env an expression names, or calls: "tool" for @tool and @recall_env.tool; None for others'."""
    node = node.func if isinstance(node, ast.Call) else node
    last = node.attr if isinstance(node, ast.Attribute) else None
    while isinstance(node, ast.Attribute):
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in host:
        return None
    return last or host[node.id]


def _assigns(node: ast.stmt, names: Iterable[str]) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id in names for target in targets)


def _is_plain(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple | ast.List):
        return all(map(_is_plain, target.elts))
    return isinstance(target, ast.Name)


def _statement(node: ast.stmt) -> _Statement:
    table = symtable.symtable(ast.unparse(node), "<tools>", "exec")
    binds = {name.get_name() for name in table.get_symbols() if name.is_assigned() or name.is_imported()}
    binds |= {name.get_name() for name in _symbols(table) if name.is_declared_global() and name.is_assigned()}
    return _Statement(node, frozenset(binds), frozenset(_globals(table)) | frozenset(_quoted(node)))


def _symbols(table: symtable.SymbolTable) -> Iterator[symtable.Symbol]:
    yield from table.get_symbols()
    for inner in table.get_children():
        yield from _symbols(inner)


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    """Names of the module that a scope, or one inside it, reads or writes."""
    for name in table.get_symbols():
        if name.is_referenced() if table.get_type() == "module" else name.is_global():
            yield name.get_name()
    for inner in table.get_children():
        yield from _globals(inner)


def _quoted(node: ast.stmt) -> Iterator[str]:
    """Names in annotations that are written as text."""
    for part in ast.walk(node):
        for hint in (getattr(part, "annotation", None), getattr(part, "returns", None)):
            for text in ast.walk(hint) if isinstance(hint, ast.expr) else ():
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    try:
                        inner = ast.parse(text.value, mode="eval")
                    except SyntaxError:
                        continue  # a description, or a value of a Literal
                    yield from (name.id for name in ast.walk(inner) if isinstance(name, ast.Name))


def _reached(statements: list[_Statement], roots: set[str]) -> list[_Statement]:
    """What defines a name that is needed, and what changes data that is needed; in the file's order."""
    needed, kept = set(roots), set[int]()
    bound = _union(one.binds for one in statements)
    while True:
        data = {name for at in kept for name in statements[at].binds if not isinstance(statements[at].node, _NAMED)}
        for at, one in enumerate(statements):
            changes = not one.is_definition and (one.binds | one.uses) & data
            if at not in kept and (one.binds & needed or changes):
                kept.add(at)
                needed |= one.uses & bound
                break
        else:
            return [statements[at] for at in sorted(kept)]


def _check(kept: list[_Statement], host: dict[str, str], statements: list[_Statement]) -> None:
    """Raises SourceError for the first thing that the jail does not have, or must not."""
    bound = _union(one.binds for one in kept)
    for one in kept:
        for node in ast.walk(one.node):
            if isinstance(node, ast.Import | ast.ImportFrom):
                _check_import(node)
            if isinstance(node, ast.Dict):
                for key in node.keys:
                    if isinstance(key, ast.Constant) and key.value in _ANSWERS:
                        raise SourceError(
                            node.lineno, f"the tools use what holds a {key.value}; answers stay outside of the jail"
                        )
        for name in sorted(one.uses - bound - _GIVEN):
            if name in host:
                raise SourceError(one.node.lineno, f"the tools use {name} of recall_env, which is not in the jail")
            if any(
                alias.name == "*" for s in statements for alias in getattr(s.node, "names", ()) if _is_import(s.node)
            ):
                raise SourceError(one.node.lineno, f"where does {name} come from? Import it by name, not with *")
            if not _is_annotation_only(one.node, name):
                raise SourceError(one.node.lineno, f"the tools use {name}, which this file does not define")


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _is_annotation_only(node: ast.stmt, name: str) -> bool:
    """Whether a name stands only inside texts: what looks like one there need not be one."""
    return not any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(node))


def _check_import(node: ast.Import | ast.ImportFrom) -> None:
    modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    relative = isinstance(node, ast.ImportFrom) and node.level > 0
    for module in modules:
        if relative or module.partition(".")[0] not in sys.stdlib_module_names:
            raise SourceError(
                node.lineno,
                f"`{ast.unparse(node)}`: the jail holds Python's standard library and this file, nothing else",
            )


def _classes_of(tools: Tools) -> Iterator[type]:
    for signature in tools.signatures:
        for parameter in signature.parameters:
            yield from parameter.kind.classes


def _functions(tools: Tools, kept: list[_Statement]) -> list[str]:
    """The generated end of the source: what rebuilds records, the one object, a function for `setup` and each tool."""
    taken = _union(one.binds for one in kept)
    env = _free("_env", taken)
    made = [_record(record, tools.record_names[record], fields) for record, fields in tools.records.items()]
    made.append(f"{env} = {tools.class_name}()")
    for name, definition in tools.hooks.items():
        wait = "await " if definition.startswith("async") else ""
        call = f"{name}({HOOKS[name]})"
        made.append(f"{definition} {call}:\n    return {wait}{env}.{call}")
    made += [_function(signature, env) for signature in tools.signatures]
    used = _union([*(one.uses for one in kept), *(_statement(ast.parse(text).body[0]).uses for text in made)])
    if wrong := next(_clashes(tools, taken, used), None):
        raise SourceError(next(one.node.lineno for one in kept if tools.class_name in one.binds), wrong)
    return made


def _clashes(tools: Tools, taken: frozenset[str], used: frozenset[str]) -> Iterator[str]:
    """What the functions of the tools, or their parameters, would hide."""
    for signature in tools.signatures:
        if signature.name in taken or signature.name in used:
            whose = "the file has another" if signature.name in taken else "the tools use Python's own"
            yield f"tool {signature.name!r}: {whose} {signature.name}; give the tool another name"
        for parameter in signature.parameters:
            if parameter.name in _rebuilding(signature):
                name = f"tool {signature.name!r}: parameter {parameter.name!r}"
                yield f"{name} hides what the tool's arguments are made with; give it another name"
    for name in HOOKS:
        if name in taken:
            yield f"the file has a {name} besides the class's own; give it another name"


def _union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*sets)


def _rebuilding(signature: Signature) -> set[str]:
    """Names that the expressions of its arguments call."""
    made = [parameter.kind.rebuild("_given") for parameter in signature.parameters if parameter.kind.rebuild]
    names = {part.id for text in made for part in ast.walk(ast.parse(text)) if isinstance(part, ast.Name)}
    return names - {"_given", "item", "key"}


def _free(name: str, taken: frozenset[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _record(record: type, name: str, fields: dict[str, Kind]) -> str:
    lines = [f"def {name}(value):", "    value = dict(value)"]
    for field, kind in fields.items():
        if kind.rebuild:
            given = f"value[{field!r}]"
            lines += [f"    if {field!r} in value:", f"        {given} = {kind.rebuild(given)}"]
    made = "value" if issubclass(record, dict) else f"{record.__qualname__}(**value)"
    return "\n".join([*lines, f"    return {made}"])


def _function(signature: Signature, env: str) -> str:
    """Parameters as JSON has them; the method gets what its hints promise."""
    parameters, arguments, starred = [], [], False
    for parameter in signature.parameters:
        if parameter.keyword_only and not starred:
            parameters.append("*")
            starred = True
        hint, name, kind = parameter.kind.annotation, parameter.name, parameter.kind
        text = f"{name}: {hint}" if hint else name
        if parameter.has_default:
            text += f" = {parameter.default!r}" if hint else f"={parameter.default!r}"
        parameters.append(text)
        arguments.append(f"{name}={kind.rebuild(name) if kind.rebuild else name}")
    definition, wait = ("async def", "await ") if signature.asynchronous else ("def", "")
    call = f"{wait}{env}.{signature.name}({', '.join(arguments)})"
    return f"{definition} {signature.name}({', '.join(parameters)}):\n    return {call}"


def record_name(record: type, taken: set[str]) -> str:
    """_point for Point, or the next name that is free."""
    return _free("_" + record.__name__.lower().lstrip("_"), frozenset(taken) | {"_env"})


def top_level_names(text: str) -> set[str]:
    return {name for node in ast.parse(text).body for name in _statement(node).binds}
