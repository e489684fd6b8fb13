"""Hints: schemas from them, values through the jail, and what is refused in one line."""

import copy
import json
import textwrap

import jsonschema_rs
import pydantic
import pytest

from recall_env import EnvError
from recall_env.schema import argument_error, function_of

KINDS = '''
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired, Optional, TypedDict, Union

from recall_env import ToolEnv, tool


class Unit(enum.Enum):
    CELSIUS = "c"
    FAHRENHEIT = "f"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Point:
    """A place.

    Attributes:
        x: East.
    """

    x: float
    y: float = 2.5


@dataclass
class Route:
    stops: list[Point]
    unit: Unit = Unit.CELSIUS
    notes: dict[str, int] = field(default_factory=dict)
    back: Point | None = None


class Order(TypedDict):
    item: str
    count: NotRequired[int]
    at: NotRequired[Point]


type Cells = list[list[int]]


class Kinds(ToolEnv):
    def setup(self, state):
        self.seen = state
'''
HINTS = {  # hint: JSON values that fit it
    "str": ["a", "", "é\n\"'"],
    "int": [3, -1, 2.0],
    "float": [1.5, 2],
    "bool": [True, False],
    "Any": [None, {"a": [1]}, "x"],
    "Optional[int]": [None, 4],
    "str | None": [None, "a"],
    "int | str": [1, "1"],
    "Union[float, list[str], None]": [1.5, ["a"], None],
    "Literal['a', 'b']": ["a", "b"],
    "Literal[1, 'b', None]": [1, "b", None],
    "Unit": ["c", "f"],
    "Level": [1, 2],
    "Unit | None": ["f", None],
    "Level | str": [2, "two"],
    "list": [[], [1, "a"]],
    "list[int]": [[], [1, 2.0]],
    "Cells": [[[1], [2, 3]], []],
    "Sequence[Unit]": [["c", "f"]],
    "tuple[int, str]": [[1, "a"]],
    "tuple[float, ...]": [[], [1, 2.5]],
    "set[int]": [[3, 1]],
    "frozenset[Unit]": [["c"]],
    "dict": [{}, {"a": {"b": 1}}],
    "dict[str, Point]": [{"home": {"x": 1}}],
    "Mapping[str, list[Level]]": [{"a": [1, 2]}],
    "Point": [{"x": 1}, {"x": 1.5, "y": 2}],
    "Point | str": [{"x": 1}, "home"],
    "Point | list[Point] | None": [{"x": 1}, [{"x": 1}], None],
    "Route": [
        {"stops": []},
        {"stops": [{"x": 1}], "unit": "f", "notes": {"a": 1.0}, "back": {"x": 0, "y": 0}},
        {"stops": [{"x": 3, "y": 4}], "back": None},
    ],
    "Order": [{"item": "a"}, {"item": "a", "count": 2.0, "at": {"x": 1}}],
    "list[Order]": [[{"item": "a", "count": 1}]],
    "Annotated[int, 'how many']": [1],
}
JUNK = [
    None,
    True,
    0,
    -7,
    2.0,
    1.5,
    "",
    "a",
    "c",
    "x",
    [],
    [1],
    ["c"],
    [1, "a"],
    [[1]],
    {},
    {"x": 1},
    {"a": 1},
    {"x": "1"},
]
JUNK += [
    {"x": 1, "z": 2},
    {"item": 1},
    {"item": "a", "n": 1},
    {"stops": [{"y": 1}]},
    {"stops": [{"x": 1}], "unit": "k"},
]


@pytest.fixture
def kinds(define):
    tools = [
        f'    @tool\n    def f{n}(self, given: {hint}):\n        """Shows."""\n        return repr(given)\n'
        for n, hint in enumerate(HINTS)
    ]
    return define(KINDS + "\n" + "\n".join(tools), "kinds")


def test_every_kind_of_hint_gets_its_values_through_the_jail(kinds, shared_jail):
    session = shared_jail.open(kinds.Kinds.source, state=None)
    try:
        for number, (hint, values) in enumerate(HINTS.items()):
            parameters = function_of(kinds.Kinds.schemas[number])["parameters"]
            for value in values:
                assert argument_error(parameters, {"given": value}) is None, (hint, value)
                result = session.call(f"f{number}", {"given": value})
                # What pydantic makes of the same JSON, on the host, is what the tool must have got.
                wanted = pydantic.TypeAdapter(eval(hint, vars(kinds))).validate_python(copy.deepcopy(value))
                assert (result.status, result.value) == ("ok", repr(wanted)), (hint, value, result)
    finally:
        session.close()


def test_schemas_take_and_refuse_what_pydantics_do(kinds):
    for number, hint in enumerate(HINTS):
        (ours,) = function_of(kinds.Kinds.schemas[number])["parameters"]["properties"].values()
        jsonschema_rs.meta.validate(ours)
        theirs = pydantic.TypeAdapter(eval(hint, vars(kinds))).json_schema()
        for value in [*JUNK, *(value for values in HINTS.values() for value in values)]:
            if isinstance(value, dict) and {"z", "n"} & value.keys():
                continue  # keys that nobody asked for: ours refuses them, pydantic's ignores them
            mine, other = jsonschema_rs.is_valid(ours, value), jsonschema_rs.is_valid(theirs, value)
            fields = any(name in hint for name in ("Point", "Route", "Order"))
            assert mine == other or (fields and other and not mine), (hint, value, mine)


def test_a_schema_is_plain_json_without_titles_and_references(kinds):
    text = json.dumps(kinds.Kinds.schemas)
    assert '"title"' not in text and "$ref" not in text and "$defs" not in text


def a_class(body: str, above: str = "", name: str = "Bad", more: str = "") -> str:
    return f"from recall_env import ToolEnv, tool\n{above}\nclass {name}(ToolEnv{more}):\n" + textwrap.indent(
        textwrap.dedent(body), "    "
    )


def a_tool(signature: str = "self, a: int", name: str = "get", doc: str = '"""Get."""', body: str = "return 1") -> str:
    return f"@tool\ndef {name}({signature}):\n    {doc}\n    {body}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (a_class(a_tool("self, a")), r"bad_file.py: class Bad: tool 'get': parameter 'a': it has no type hint"),
        (a_class(a_tool("self, *a: int")), "'a': arguments are given by name"),
        (a_class(a_tool("self, **a: int")), "'a': arguments are given by name"),
        (a_class(a_tool("self, a: int, /")), "'a': arguments are given by name"),
        (a_class(a_tool("self, _a: int")), "does not begin with _"),
        (a_class(a_tool("self, a: bytes")), "'a': the type bytes is not supported; take str, int"),
        (a_class(a_tool("self, a: dict[int, str]")), "JSON's keys are text"),
        (a_class(a_tool("self, a: 'Nowhere'")), "its hints name 'Nowhere', which is not defined above it"),
        (a_class(a_tool("self, a: int = None")), "its default does not fit its hint: .*; write `| None` to its hint"),
        (a_class(a_tool("self, a: str = 3")), "its default does not fit its hint: expected string, got integer 3"),
        (a_class(a_tool("self, a: list = len")), "its default is a builtin_function_or_method"),
        (a_class(a_tool("self, a: list[str] | set[int]")), "both array in JSON, so they cannot be told apart"),
        (a_class(a_tool("self, a: date", name="get"), "from datetime import date"), "the type date is not supported"),
        (a_class(a_tool("self, a: Status"), "from http import HTTPStatus as Status"), "HTTPStatus is defined in http"),
        (a_class(a_tool(doc="pass")), "tool 'get': it has no docstring"),
        (a_class(a_tool(doc='"""G.\n\n    Args:\n        b: It.\n    """')), "its docstring tells of a parameter 'b'"),
        (a_class(a_tool(name="setup")), "tool 'setup': ToolEnv has a member of that name"),
        (a_class(a_tool(name="to_rows")), "tool 'to_rows': ToolEnv has a member of that name"),
        (a_class(a_tool(name="_get")), "tool '_get'"),
        (a_class("@staticmethod\n" + a_tool("a: int")), "a tool is a plain method, with self"),
        (a_class("@tool\n@staticmethod\ndef get(a: int): pass"), "@tool stands before a plain method"),
        (a_class("x = 1", more=", id='Contrib/Bad-v0'"), "class Bad has no tools; mark methods with @tool"),
        (a_class(a_tool(), more=", id='Bad-v0'"), "the id 'Bad-v0' is not of the form Namespace/Name-v0"),
        (a_class(a_tool(), more=", id='ReCall/Bad-v0'"), "ids of the namespace ReCall are ReCall's own"),
        (a_class("def __init__(self, n): pass\n" + a_tool()), "its __init__ is called without arguments"),
        (a_class("def setup(self): pass\n" + a_tool()), r"expected `def setup\(self, state\)`"),
        (
            a_class(a_tool(body="return numpy.pi"), "import numpy"),
            r"bad_file.py line 2: .*the jail holds Python's standard",
        ),
        (a_class(a_tool(body="import numpy")), "line 7: class Bad: `import numpy`: the jail holds"),
        (a_class(a_tool(body="from .other import x")), "`from .other import x`: the jail holds"),
        (
            a_class(a_tool(body="return Task"), "from recall_env import Task"),
            "use Task of recall_env, which is not in the",
        ),
        (a_class(a_tool(body="return nowhere")), "the tools use nowhere, which this file does not define"),
        (a_class(a_tool(body="return T"), "T = [{'question': 'q', 'ground_truth': '1'}]"), "what holds a ground_truth"),
        (a_class(a_tool(), "def get(): pass\nx = get") + "    y = x\n", "tool 'get': the file has another get"),
        (a_class(a_tool(name="list", body="return list('ab')")), "tool 'list': the tools use Python's own list"),
        (a_class(a_tool("self, int: float, b: int")), "parameter 'int' hides what the tool's arguments are made with"),
        (
            a_class(a_tool("self, a: Self"), "import dataclasses\n@dataclasses.dataclass\nclass Self:\n    s: 'Self'"),
            "Self holds itself",
        ),
        ("def f():\n" + textwrap.indent(a_class(a_tool()), "    ") + "\nf()", "define it at the top level of its file"),
    ],
)
def test_what_cannot_become_a_tool_is_refused_in_one_line(define, text, words):
    with pytest.raises(EnvError, match=words) as error:
        define(text, "bad_file")
    assert "\n" not in str(error.value)


def test_a_class_that_was_typed_at_a_prompt_is_asked_into_a_file():
    with pytest.raises(EnvError, match="its source cannot be read; put the class into a file"):
        exec(a_class(a_tool()), {"__name__": "nowhere"})


def test_a_class_inside_of_the_class_an_alias_and_a_tool_called_item_all_work(define, shared_jail):
    text = '''
    from enum import Enum
    from recall_env import ToolEnv, tool

    class Kind(Enum):
        Z = "z"

    Alias = Kind

    class Shelf(ToolEnv):
        class Kind(Enum):
            A = "a"

        rows = {}

        @tool
        def item(self, kinds: list[Alias], own: Kind = Kind.A, pair: tuple[int, Alias] = (1, Alias.Z)) -> str:
            """Item."""
            self.rows[own] = kinds
            return repr((self.rows, pair))
    '''
    shelf = define(text).Shelf
    session = shared_jail.open(shelf.source)
    try:
        said = session.call("item", {"kinds": ["z"]}).value
    finally:
        session.close()
    assert said == "({<Kind.A: 'a'>: [<Kind.Z: 'z'>]}, (1, <Kind.Z: 'z'>))"


def test_hints_as_texts_keep_what_is_not_required(define, shared_jail):
    text = '''
    from __future__ import annotations
    from typing import NotRequired, TypedDict
    from recall_env import ToolEnv, tool

    class Late(ToolEnv):
        @tool
        def get(self, order: Order) -> int:
            """Get."""
            return len(order)
    '''
    order = "class Order(TypedDict):\n        item: str\n        count: NotRequired[int]\n\n    class Late"
    late = define(text.replace("class Late", order)).Late
    parameters = function_of(late.schemas[0])["parameters"]
    assert argument_error(parameters, {"order": {"item": "a"}}) is None
    session = shared_jail.open(late.source)
    try:
        assert session.call("get", {"order": {"item": "a"}}).value == 1
    finally:
        session.close()
