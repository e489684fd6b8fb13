"""Type hints to JSON Schema, and back: one walk over a hint gives both its schema and how its value is rebuilt.

In the jail there is no validator, so what a tool gets there is made from JSON by plain expressions in the source
(tool_source.py). A generator of schemas alone (pydantic's, say) would leave that half to a second walk, which could
disagree.
"""

import collections.abc as abc
import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recall_env.docstring import read_docstring

_PRIMITIVES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
_PYTHON = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict"}
_SEQUENCES = (list, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection)
_SETS = {set: "set", abc.Set: "set", abc.MutableSet: "set", frozenset: "frozenset"}
_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)
_SUPPORTED = "str, int, float, bool, None, Any, Literal, Enum, list, tuple, set, dict, dataclass, TypedDict, and unions"


class HintError(ValueError):
    """A signature or hint that no schema can be made of; the text is one line, without the tool's name."""


@dataclass(frozen=True)
class Kind:
    """What a hint means.

    schema: of the JSON. rebuild: from the expression of that JSON to the expression of the value; None where the JSON
    is the value already. classes: of the author's module, which `rebuild` names.
    """

    schema: dict[str, Any]
    rebuild: Callable[[str], str] | None = None
    classes: tuple[type, ...] = ()

    @property
    def types(self) -> set[str]:
        """The JSON types it takes; empty: any."""
        found = self.schema.get("type", [])
        if "anyOf" in self.schema:
            return {name for part in self.schema["anyOf"] for name in Kind(part).types}
        return {found} if isinstance(found, str) else set(found)

    @property
    def annotation(self) -> str:
        """The JSON's own Python type, to be written in a signature; empty where there is no one name for it."""
        names = sorted(self.types - {"null"})
        if len(names) != 1:
            return ""
        return _PYTHON[names[0]] + (" | None" if "null" in self.types else "")


class Hints:
    """The walk. record_name: what the function is called that rebuilds a dataclass or TypedDict; `records` collects
    those that need one, inner ones first."""

    def __init__(self, module: str, record_name: Callable[[type], str]):
        self.module = module
        self.records: dict[type, dict[str, Kind]] = {}
        self._record_name = record_name
        self._open: list[type] = []

    def kind(self, hint: Any) -> Kind:
        """Raises HintError for a hint that JSON cannot fill, or that the jail could not rebuild."""
        if isinstance(hint, typing.TypeAliasType):
            return self.kind(hint.__value__)
        if hint in (Any, object, inspect.Parameter.empty):
            return Kind({})
        if isinstance(hint, type) and hint in _PRIMITIVES:
            return _primitive(hint)
        origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
        if origin is typing.Annotated:
            return described(self.kind(arguments[0]), next((n for n in arguments[1:] if isinstance(n, str)), ""))
        if origin in (typing.Required, typing.NotRequired):
            return self.kind(arguments[0])
        if origin is typing.Literal:
            return _one_of(arguments, hint)
        if origin in (typing.Union, types.UnionType):
            return self._union(arguments)
        if origin is tuple:
            return self._tuple(arguments)
        if origin in _SEQUENCES:
            return self._array(arguments, "list")
        if origin in _SETS:
            return self._array(arguments, _SETS[origin], uniqueItems=True)
        if origin in _MAPPINGS:
            return self._mapping(arguments)
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            self._check_home(hint)
            name = hint.__qualname__
            values = _one_of([member.value for member in hint], hint)
            return Kind(values.schema, lambda value: f"{name}({value})", (hint,))
        if typing.is_typeddict(hint) or (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
            return self._record(hint)
        raise HintError(f"the type {_shown(hint)} is not supported; take {_SUPPORTED}")

    def _union(self, members: tuple[Any, ...]) -> Kind:
        optional = type(None) in members
        kinds = [self.kind(member) for member in members if member is not type(None)]
        if any(not kind.types for kind in kinds):
            return Kind({})
        if len(kinds) > 1:
            kind = self._either(kinds)
        else:
            (kind,) = kinds
        return _optional(kind) if optional else kind

    def _either(self, kinds: list[Kind]) -> Kind:
        """Told apart by their JSON types; numbers stay as they were written."""
        seen: set[str] = set()
        for kind in kinds:
            if kind.types & seen:
                both = " and ".join(sorted(kind.types & seen))
                raise HintError(f"two members of a union are both {both} in JSON, so they cannot be told apart")
            seen |= kind.types
        numbers = [kind for kind in kinds if kind.types <= {"integer", "number"} and not kind.classes]
        rebuilt = [kind for kind in kinds if kind.rebuild and kind not in numbers]
        tests = [
            (" or ".join(f"isinstance({{0}}, {_PYTHON[n]})" for n in sorted(k.types - {"null"})), k) for k in rebuilt
        ]

        def rebuild(value: str) -> str:
            text = value
            for test, kind in reversed(tests):
                text = f"({kind.rebuild(value)} if {test.format(value)} else {text})"
            return text

        plain = all(set(kind.schema) == {"type"} for kind in kinds)
        schema = (
            {"type": [n for k in kinds for n in sorted(k.types)]} if plain else {"anyOf": [k.schema for k in kinds]}
        )
        return Kind(schema, rebuild if tests else None, _classes(kinds))

    def _array(self, arguments: tuple[Any, ...], maker: str, **also: Any) -> Kind:
        item = self.kind(arguments[0]) if arguments else Kind({})
        schema: dict[str, Any] = {"type": "array", **({"items": item.schema} if item.schema else {}), **also}

        def rebuild(value: str) -> str:
            items = f"[{item.rebuild('item')} for item in {value}]" if item.rebuild else value
            return items if maker == "list" else f"{maker}({items})"

        return Kind(schema, rebuild if item.rebuild or maker != "list" else None, item.classes)

    def _tuple(self, arguments: tuple[Any, ...]) -> Kind:
        if not arguments or arguments[-1] is Ellipsis:
            return self._array(arguments[:1], "tuple")
        items = [self.kind(argument) for argument in arguments]
        schema = {"type": "array", "prefixItems": [item.schema for item in items]}
        schema |= {"minItems": len(items), "maxItems": len(items)}

        def rebuild(value: str) -> str:
            parts = [
                item.rebuild(f"{value}[{at}]") if item.rebuild else f"{value}[{at}]" for at, item in enumerate(items)
            ]
            return f"({', '.join(parts)},)"

        return Kind(schema, rebuild, _classes(items))

    def _mapping(self, arguments: tuple[Any, ...]) -> Kind:
        if not arguments:
            return Kind({"type": "object"})
        if arguments[0] is not str:
            raise HintError(f"JSON's keys are text: take dict[str, ...], not dict[{_shown(arguments[0])}, ...]")
        item = self.kind(arguments[1])
        schema: dict[str, Any] = {"type": "object", "additionalProperties": item.schema or True}
        if item.rebuild is None:
            return Kind(schema)
        return Kind(
            schema, lambda value: f"{{key: {item.rebuild('item')} for key, item in {value}.items()}}", item.classes
        )

    def _record(self, record: type) -> Kind:
        self._check_home(record)
        if record in self._open:
            raise HintError(f"{record.__qualname__} holds itself; JSON arguments must end somewhere")
        self._open.append(record)
        try:
            fields, required, defaults = self._fields(record)
        finally:
            self._open.pop()
        summary, _, notes = read_docstring(record.__doc__)
        properties = {}
        for name, kind in fields.items():
            properties[name] = described(kind, notes.get(name, "")).schema
            if name in defaults:
                properties[name] = {**properties[name], "default": defaults[name]}
        schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
        schema["additionalProperties"] = False
        if summary and not summary.startswith(f"{record.__name__}("):  # what @dataclass writes by itself
            schema["description"] = summary
        self.records[record] = fields
        name = self._record_name(record)
        return Kind(schema, lambda value: f"{name}({value})", (record, *_classes(fields.values())))

    def _fields(self, record: type) -> tuple[dict[str, Kind], list[str], dict[str, Any]]:
        """The kinds of a record's fields, the names of those without a default, and the defaults JSON can show."""
        hints = resolved(record)
        if typing.is_typeddict(record):
            kinds = {name: self._field(record, name, hint) for name, hint in hints.items()}
            return kinds, [name for name, hint in hints.items() if _is_required(record, name, hint)], {}
        parts = [part for part in dataclasses.fields(record) if part.init]
        kinds = {part.name: self._field(record, part.name, hints[part.name]) for part in parts}
        missing = dataclasses.MISSING
        required = [part.name for part in parts if part.default is missing and part.default_factory is missing]
        shown = {part.name: part.default for part in parts if part.default is not missing}
        return kinds, required, {name: as_json(value) for name, value in shown.items()}

    def _field(self, record: type, name: str, hint: Any) -> Kind:
        try:
            return self.kind(hint)
        except HintError as error:
            raise HintError(f"{record.__qualname__}.{name}: {error}") from None

    def _check_home(self, found: type) -> None:
        if found.__module__ != self.module or "<locals>" in found.__qualname__:
            raise HintError(
                f"{found.__qualname__} is defined in {found.__module__}, of which the jail knows nothing; "
                f"define it at the top of this file"
            )


def resolved(described: Any, namespace: dict[str, Any] | None = None) -> dict[str, Any]:
    """Its type hints, those written as text included. Raises HintError for a name that is not defined (yet)."""
    try:
        return typing.get_type_hints(described, localns=namespace, include_extras=True)
    except NameError as error:
        raise HintError(f"its hints name {error.name!r}, which is not defined above it") from error
    except (TypeError, SyntaxError, AttributeError) as error:
        raise HintError(f"its hints cannot be read: {error}") from error


def as_json(value: Any) -> Any:
    """A default as JSON has it. Raises HintError for what JSON has not."""
    if isinstance(value, enum.Enum):
        return as_json(value.value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {part.name: as_json(getattr(value, part.name)) for part in dataclasses.fields(value) if part.init}
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(as_json, value), key=str)
    raise HintError(f"its default is a {type(value).__name__}, which JSON cannot show to a model")


def _primitive(hint: type) -> Kind:
    """JSON writes 2.0 where an integer is meant, and 2 where a float is."""
    maker = {int: "int", float: "float"}.get(hint)
    return Kind({"type": _PRIMITIVES[hint]}, (lambda value: f"{maker}({value})") if maker else None)


def _one_of(values: typing.Iterable[Any], hint: Any) -> Kind:
    values = list(values)
    wrong = [value for value in values if type(value) not in _PRIMITIVES]
    if wrong or not values:
        raise HintError(
            f"{_shown(hint)}: its values must be text, numbers or booleans, not {wrong[0] if wrong else 'none'!r}"
        )
    names = list(dict.fromkeys(_PRIMITIVES[type(value)] for value in values))
    return Kind({"type": names[0] if len(names) == 1 else names, "enum": values})


def _optional(kind: Kind) -> Kind:
    if "anyOf" in kind.schema:
        schema = {**kind.schema, "anyOf": [*kind.schema["anyOf"], {"type": "null"}]}
    else:
        schema = {**kind.schema, "type": [*_listed(kind.schema["type"]), "null"]}
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    if kind.rebuild is None:
        return Kind(schema, None, kind.classes)
    return Kind(schema, lambda value: f"(None if {value} is None else {kind.rebuild(value)})", kind.classes)


def described(kind: Kind, description: str) -> Kind:
    return dataclasses.replace(kind, schema={**kind.schema, "description": description}) if description else kind


def _listed(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else names


def _is_required(record: type, name: str, hint: Any) -> bool:
    """A TypedDict whose hints are texts does not see the NotRequired in them."""
    origin = typing.get_origin(hint)
    return origin is typing.Required or (origin is not typing.NotRequired and name in record.__required_keys__)


def _classes(kinds: typing.Iterable[Kind]) -> tuple[type, ...]:
    return tuple(dict.fromkeys(found for kind in kinds for found in kind.classes))


def _shown(hint: Any) -> str:
    return (
        hint.__qualname__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")
    )
