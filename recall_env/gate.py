"""The gate: what in a tool's source no tool has reason to do, by line. A linter before the jail, never the boundary.

RestrictedPython walks the tree and refuses every kind of node that it does not know. Its stock policy is made for code
that runs under its guards, so it refuses nearly every realistic tool (dataclasses, `x += 1` on a key, `match`, async);
the policy here lets those through, throws the rewritten tree away, and reports the rest as findings.
"""

import ast
import functools
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from RestrictedPython.transformer import INSPECT_ATTRIBUTES, RestrictingNodeTransformer

Rule = Literal["source", "import", "name", "attribute", "format", "statement"]

MAX_CHARS = 256 * 1024  # of a source that is looked at
ALLOWED_IMPORTS = frozenset(
    """__future__ abc array ast asyncio base64 binascii bisect calendar cmath collections contextlib copy csv
    dataclasses datetime decimal difflib enum fractions functools graphlib hashlib heapq hmac html io itertools json
    keyword locale math numbers operator queue random re secrets sqlite3 statistics string struct textwrap threading
    time types typing unicodedata uuid warnings xml zlib zoneinfo""".split()
)
KINDS = {
    "network": "aiohttp asyncore ftplib http httpx imaplib poplib requests select selectors smtplib socket "
    "socketserver ssl telnetlib urllib urllib3 websockets xmlrpc",
    "processes": "concurrent fcntl multiprocessing popen2 pty resource signal subprocess",
    "files": "bz2 codecs fileinput fnmatch glob gzip lzma mmap os pathlib shutil stat tarfile tempfile zipfile",
    "the interpreter": "builtins code codeop ctypes dis faulthandler gc imp importlib inspect marshal pickle pkgutil "
    "runpy shelve site sys sysconfig traceback tracemalloc weakref",
}
_KIND_OF = {module: kind for kind, modules in KINDS.items() for module in modules.split()}
NAMES = {
    **dict.fromkeys(("exec", "eval", "compile", "__import__"), "runs text as code"),
    **dict.fromkeys(("open", "input"), "reads or writes files"),
    **dict.fromkeys(("globals", "locals", "vars", "breakpoint", "help"), "looks into the interpreter"),
}
_FILES_OF_IO = {"open", "open_code", "FileIO"}
_BY_NAME = {"getattr", "setattr", "delattr", "hasattr", "attrgetter", "methodcaller"}  # take an attribute's name
# Special methods that people write and call. What is not among them leads to classes, frames, code and modules.
HARMLESS_DUNDERS = frozenset(
    f"__{name}__"
    for name in """abs add aenter aexit aiter all and anext annotations bool bytes call ceil cmp contains delitem doc
    enter eq exit float floor floordiv format ge getitem gt hash iadd iand idiv imod imul index init init_subclass int
    invert ior isub iter le len length_hint lt main match_args matmul missing mod mul name ne neg new next or pos
    post_init pow qualname radd repr reversed rmul ror round rsub setitem slots str sub truediv version xor""".split()
)


@dataclass(frozen=True, order=True)
class Finding:
    line: int  # from 1; 0: of the source as a whole
    rule: Rule
    text: str  # what is there, and why it is reported

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


@functools.lru_cache(maxsize=1024)
def findings(source: str, allowed_imports: frozenset[str] = ALLOWED_IMPORTS) -> tuple[Finding, ...]:
    """What the gate reports about a tool source, by line; nothing for a source that passes. Never raises: text that is
    no Python, too long, or nested too deeply is a finding."""
    if len(source) > MAX_CHARS:
        return (Finding(0, "source", f"{len(source)} characters; at most {MAX_CHARS} are looked at"),)
    try:
        tree = ast.parse(source)
        policy = _Policy(tree, allowed_imports)
        policy.visit(tree)
    except SyntaxError as error:
        return (Finding(error.lineno or 0, "source", f"not Python: {error.msg}"),)
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL or a lone surrogate; nesting
        return (Finding(0, "source", f"not Python that can be read: {type(error).__name__}"),)
    return tuple(sorted(set(policy.findings)))


class _Policy(RestrictingNodeTransformer):
    def __init__(self, tree: ast.Module, allowed_imports: frozenset[str]) -> None:
        super().__init__()
        self.findings: list[Finding] = []
        self._allowed = allowed_imports
        self._defined = set(_defined(tree))
        self._modules = dict(_modules(tree))
        self._parameters: list[set[str]] = []  # of the functions around the node

    def error(self, node: ast.AST, info: str) -> None:
        """Where RestrictedPython itself refuses a node."""
        self._report(node, "statement", info)

    def _report(self, node: ast.AST, rule: Rule, text: str) -> None:
        self.findings.append(Finding(getattr(node, "lineno", 0), rule, text))

    def visit_Import(self, node: ast.Import) -> ast.AST:
        for alias in node.names:
            self._import(node, alias.name)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        module = "." * node.level + (node.module or "")
        self._import(node, module)
        for alias in node.names:
            self._member(node, module, alias.name)
        return node

    def _import(self, node: ast.AST, module: str) -> None:
        top = module.partition(".")[0]
        if top not in self._allowed:
            why = _KIND_OF.get(top)
            self._report(node, "import", f"import of {module}: {why or 'not on the list of allowed modules'}")

    def _member(self, node: ast.AST, module: str, name: str) -> None:
        """Allowed modules hold others that are not: random._os, typing.sys, io.open."""
        kind = "files" if module == "io" and name in _FILES_OF_IO else _KIND_OF.get(name.lstrip("_"))
        if kind is not None:
            self._report(node, "import", f"{module}.{name}: {kind}")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in NAMES and node.id not in self._defined:
            self._report(node, "name", f"{node.id}: {NAMES[node.id]}")
        elif _walks(node.id):
            self._report(node, "name", f"{node.id}: leads into the interpreter")
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        inner = node.value
        if node.attr == "__name__" and isinstance(inner, ast.Attribute) and inner.attr == "__class__":
            return self.node_contents_visit(inner)  # x.__class__.__name__: the name alone comes out
        if isinstance(inner, ast.Name) and inner.id in self._modules:
            self._member(node, self._modules[inner.id], node.attr)
        if _walks(node.attr):
            self._report(node, "attribute", f".{node.attr}: leads into the interpreter")
        return self.node_contents_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str):
            if _walks(node.value):
                self._report(node, "attribute", f"{node.value!r}: names what leads into the interpreter")
            for field in _format_fields(node.value):
                self._report(node, "format", f"{{{field}}}: a format field that leads into the interpreter")
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        called = node.func
        name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
        if name in _BY_NAME and name not in self._defined:
            named = node.args[:1] if name in ("attrgetter", "methodcaller") else node.args[1:2]
            if any(not isinstance(argument, ast.Constant) for argument in named):
                self._report(node, "attribute", f"{name}: of a name that is not written out")
        if name in ("format", "format_map") and isinstance(called, ast.Attribute):
            template = called.value
            if isinstance(template, ast.Name) and any(template.id in names for names in self._parameters):
                self._report(node, "format", f"{template.id}.{name}: a template from outside can walk attributes")
        return self.node_contents_visit(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> ast.AST:
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        self._parameters.append({argument.arg for argument in every if argument is not None})
        try:
            return self.node_contents_visit(node)
        finally:
            self._parameters.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _function


# What RestrictedPython rewrites to run under its guards, or refuses for want of one, and the jail does not mind.
_PLAIN = """AnnAssign arg arguments AsyncFor AsyncWith Assert Assign AugAssign Await ClassDef comprehension Delete Dict
DictComp ExceptHandler For FormattedValue GeneratorExp JoinedStr keyword List ListComp match_case Match MatchAs
MatchClass MatchMapping MatchOr MatchSequence MatchSingleton MatchStar MatchValue Module NamedExpr Nonlocal Global
ParamSpec Set SetComp Slice Starred Subscript Try TryStar Tuple TypeAlias TypeVar TypeVarTuple With withitem Yield
YieldFrom alias""".split()
for _name in _PLAIN:
    setattr(_Policy, f"visit_{_name}", RestrictingNodeTransformer.node_contents_visit)


def _walks(name: str) -> bool:
    """Whether an attribute of this name leads from a value to classes, frames, code or modules."""
    dunder = len(name) > 4 and name.startswith("__") and name.endswith("__") and name.isidentifier()
    return (dunder and name not in HARMLESS_DUNDERS) or name in INSPECT_ATTRIBUTES


def _format_fields(text: str) -> Iterator[str]:
    """The replacement fields of a str.format template that walk to such an attribute."""
    if "__" not in text or "{" not in text:
        return
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(text) if field]
    except ValueError:  # no template
        return
    for field in fields:
        if any(map(_walks, field.replace("[", ".").replace("]", ".").split("."))):
            yield field


def _defined(tree: ast.Module) -> Iterator[str]:
    """Names that the source gives a meaning of its own: a tool may well be called `open`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg


def _modules(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(name, module) for each module that the source has imported as a whole."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (top, top)
