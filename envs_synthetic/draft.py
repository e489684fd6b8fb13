"""Draft: a task before its gold calls have been played; Builder: how a family puts one together.

A family states a plan, not an answer: steps whose arguments are literals or `Ref`s to earlier results, and a Ref for
the answer. `generate` plays the plan against the source, so that every argument and the truth come out of the tools.
"""

import builtins
import keyword
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from envs_synthetic.layouts import Layout, Row, choose
from envs_synthetic.lexicon import Words

__all__ = ["Builder", "Draft", "Param", "Ref", "Step", "Tool"]

GET = ("get", "find", "fetch", "lookup")
MAX_TOOLS = 5
Path = tuple[str | int, ...]


def sentence(text: str) -> str:
    return text[0].upper() + text[1:].rstrip(".") + "."


def a(noun: str) -> str:
    """The noun with its article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


@dataclass(frozen=True)
class Ref:
    """A value inside the result of an earlier step. `pattern` takes the first group of a match inside a text."""

    step: int
    path: tuple[str | int, ...] = ()
    pattern: str | None = None


@dataclass(frozen=True)
class Step:
    """One planned call. `fails`: it is expected to come back as the tool's own error (flaky tools)."""

    tool: str
    arguments: dict[str, Any]
    fails: bool = False


@dataclass(frozen=True)
class Param:
    """A parameter of a tool, in its schema and in its source."""

    name: str
    type: str = "string"  # a JSON Schema type; "numbers" is an array of numbers
    description: str = ""
    enum: tuple[str, ...] = ()
    default: Any = None  # None: required


@dataclass(frozen=True)
class Tool:
    """A tool of a draft. body: lines of Python, not indented. decorators: with their "@"."""

    name: str
    description: str
    params: tuple[Param, ...]
    body: tuple[str, ...]
    decorators: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draft:
    """A task whose plan has not been played: no argument that comes from a result is known yet, nor the truth."""

    family: str
    question: str
    source: str
    tools: tuple[Tool, ...]
    steps: tuple[Step, ...]
    answer: Ref
    state: dict[str, Any] | None = None

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """The tools' OpenAI schemas, in the order of `tools`."""
        return [schema_of(tool) for tool in self.tools]


JSON_TYPES = {
    "string": ("str", {"type": "string"}),
    "integer": ("int", {"type": "integer"}),
    "number": ("float", {"type": "number"}),
    "numbers": ("list", {"type": "array", "items": {"type": "number"}}),
    "strings": ("list", {"type": "array", "items": {"type": "string"}}),
}


def schema_of(tool: Tool) -> dict[str, Any]:
    properties = {}
    for param in tool.params:
        properties[param.name] = dict(JSON_TYPES[param.type][1])
        if param.enum:
            properties[param.name]["enum"] = list(param.enum)
        if param.description:
            properties[param.name]["description"] = param.description
    required = [param.name for param in tool.params if param.default is None]
    parameters = {"type": "object", "properties": properties, "required": required}
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def source_of(tool: Tool) -> list[str]:
    params = []
    for param in tool.params:
        annotation = f"{param.name}: {JSON_TYPES[param.type][0]}"
        params.append(annotation if param.default is None else f"{annotation} = {param.default!r}")
    head = f"def {tool.name}({', '.join(params)}):"
    return [
        *tool.decorators,
        head,
        f'    """{tool.description}"""',
        *(f"    {line}" if line else "" for line in tool.body),
    ]


@dataclass
class Builder:
    """Collects tables, tools and steps of one task, and holds what makes its spelling its own."""

    rng: random.Random
    words: Words
    tables: list[Layout] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)  # other module-level code
    imports: set[str] = field(default_factory=set)
    tools: list[Tool] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.camel = self.rng.random() < 0.2
        self.bare = not self.camel and self.rng.random() < 0.15
        self.shape_kind = self.rng.choice(("bare", "keyed", "keyed", "echo", "value", "data"))
        self.error_text = self.rng.choice(("no {0} {1}", "unknown {0} {1}", "{0} {1} not found", "there is no {0} {1}"))

    def pick(self, options: Sequence[Any]) -> Any:
        """One of them, by the task's seed."""
        return self.rng.choice(options)

    def spell(self, *words: str) -> str:
        """A tool or key name in the task's own spelling: total_of or totalOf."""
        parts = "_".join(words).replace(" ", "_").split("_")
        if self.camel:
            return parts[0] + "".join(part.title() for part in parts[1:])
        return "_".join(parts)

    def getter(self, noun: str, of: str = "") -> str:
        """The name of a tool that reads `noun`: find_supplier, supplierOf, ..."""
        name = self.spell(noun, "of") if self.bare else self.spell(self.pick(GET), noun)
        return name if not self.taken(name) else self.spell(name, of or "value")

    def doer(self, verb: str, noun: str) -> str:
        """The name of a tool that does something: reserve_item, reserveItem, reserve."""
        plain = self.bare and "_" not in verb and not keyword.iskeyword(verb) and not hasattr(builtins, verb)
        name = verb if plain else self.spell(verb, noun)
        return name if not self.taken(name) else self.spell(verb, noun, "now")

    def taken(self, name: str) -> bool:
        """Whether a tool has this name already."""
        return any(tool.name == name for tool in self.tools)

    def table(self, name: str, key: str, rows: list[Row], mutable: bool = False) -> Layout:
        """Add data: rows found by the column `key`, shuffled, in a layout of the task's own (layouts.py).

        mutable: tools change it, so it is made anew in each episode's `setup`.
        """
        rows = list(rows)
        self.rng.shuffle(rows)
        self.tables.append(choose(self.rng, name, key, rows, mutable))
        return self.tables[-1]

    def missing(self, noun: str, var: str) -> str:
        """A source expression for the text of a lookup error."""
        return 'f"' + self.error_text.format(noun, "{" + var + "!r}") + '"'

    def shape(self, key: str, value: str, echo: tuple[str, str] | None = None) -> tuple[list[str], Path]:
        """(the return line for the expression `value` in the task's result shape, the path to it)."""
        key = self.spell(key)
        if self.shape_kind == "keyed" or (self.shape_kind == "echo" and (echo is None or echo[0] == key)):
            return [f'return {{"{key}": {value}}}'], (key,)
        if self.shape_kind == "echo":
            return [f'return {{"{echo[0]}": {echo[1]}, "{key}": {value}}}'], (key,)
        if self.shape_kind == "value":
            return [f'return {{"value": {value}}}'], ("value",)
        if self.shape_kind == "data":
            return [f'return {{"ok": True, "data": {value}}}'], ("data",)
        return [f"return {value}"], ()

    def reader(self, table: Layout, noun: str, column: str, of: str, param: str, about: str = "") -> tuple[str, Path]:
        """Add a tool that reads one column by key: (its name, the path to the value in its result).

        noun: what is read, in words; of: what the key is, in words.
        """
        param = self.spell(param)
        returned, path = self.shape(noun, table.get("row", column), (param, param))
        body = [*table.find(param, "row", self.missing(of, param)), *returned]
        about = about or self.pick((f"{noun} of {a(of)}", f"the {noun} of {a(of)}", f"returns the {noun} of {a(of)}"))
        name = self.getter(noun, of)
        return self.tool(name, sentence(about), [Param(param)], body), path

    def tool(self, name: str, description: str, params: Sequence[Param], body: Sequence[str], *decorators: str) -> str:
        """Add a tool; returns its name. body: lines of Python, not indented; decorators: with their "@"."""
        self.tools.append(Tool(name, description, tuple(params), tuple(body), decorators))
        return name

    def call(self, tool: str, arguments: dict[str, Any], fails: bool = False) -> int:
        """Plan a call; returns its number, for Refs."""
        self.steps.append(Step(tool, arguments, fails))
        return len(self.steps) - 1

    def done(self, family: str, question: str, answer: Ref) -> Draft:
        """The draft of what was collected, its tools in any order. answer: where in a result the truth stands."""
        state: dict[str, Any] = {}
        setup: list[str] = []
        for table in self.tables:
            state |= table.state()
            setup += table.setup()
        blocks = [sorted(self.imports | {line for table in self.tables for line in table.imports})]
        blocks += [table.define() for table in self.tables]
        blocks += [self.lines]
        if setup:
            blocks += [["def setup(state):", *(f"    {line}" for line in setup)]]
        tools = list(self.tools)
        self.rng.shuffle(tools)
        blocks += [source_of(tool) for tool in tools]
        source = "\n\n\n".join("\n".join(block) for block in blocks if block) + "\n"
        text = " ".join(question.split())
        text = text[0].upper() + text[1:]
        return Draft(family, text, source, tuple(tools), tuple(self.steps), answer, state or None)
