"""A tool's schema, from the signature and the docstring of a method."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recall_env.docstring import read_docstring
from recall_env.hints import HintError, Hints, Kind, as_json, described, resolved
from recall_env.nearest import did_you_mean


@dataclass(frozen=True)
class Parameter:
    name: str
    kind: Kind
    has_default: bool
    default: Any  # as JSON
    keyword_only: bool


@dataclass(frozen=True)
class Signature:
    """What a tool takes, read from its hints and its docstring."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    asynchronous: bool

    @property
    def schema(self) -> dict[str, Any]:
        """The OpenAI tool schema."""
        properties = {parameter.name: parameter.kind.schema for parameter in self.parameters}
        required = [parameter.name for parameter in self.parameters if not parameter.has_default]
        parameters = {"type": "object", "properties": properties, "required": required}
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


def read_signature(name: str, function: Callable[..., Any], hints: Hints, namespace: dict[str, Any]) -> Signature:
    """A tool's signature, its first parameter (self) left out. Raises HintError, with the parameter's name."""
    summary, rest, notes = read_docstring(function.__doc__)
    if not summary:
        raise HintError("it has no docstring, and that is all a model learns of it")
    types_of = resolved(function, namespace)
    parameters = []
    for each, parameter in list(inspect.signature(function).parameters.items())[1:]:
        try:
            parameters.append(_parameter(parameter, types_of, hints, notes.get(each, "")))
        except HintError as error:
            raise HintError(f"parameter {each!r}: {error}") from None
    names = [parameter.name for parameter in parameters]
    for noted in notes:
        if noted not in names:
            raise HintError(f"its docstring tells of a parameter {noted!r}{did_you_mean(noted, names)}")
    description = f"{summary}\n\n{rest}" if rest else summary
    return Signature(name, description, tuple(parameters), inspect.iscoroutinefunction(function))


def _parameter(parameter: inspect.Parameter, types_of: dict[str, Any], hints: Hints, note: str) -> Parameter:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise HintError("arguments are given by name; take plain named parameters, not *, ** or /")
    if parameter.name.startswith("_"):
        raise HintError("a name that a model writes does not begin with _")
    if parameter.name not in types_of:
        raise HintError("it has no type hint")
    kind = described(hints.kind(types_of[parameter.name]), note)
    only = parameter.kind is parameter.KEYWORD_ONLY
    if parameter.default is parameter.empty:
        return Parameter(parameter.name, kind, False, None, only)
    default = as_json(parameter.default)
    if wrong := _mismatch(kind.schema, default):
        advice = "; write `| None` to its hint" if default is None else ""
        raise HintError(f"its default does not fit its hint: {wrong}{advice}")
    return Parameter(
        parameter.name, Kind({**kind.schema, "default": default}, kind.rebuild, kind.classes), True, default, only
    )


def _mismatch(schema: dict[str, Any], value: Any) -> str | None:
    from recall_env.schema import argument_error  # jsonschema-rs: only who defines tools pays for it

    wrong = argument_error({"type": "object", "properties": {"default": schema}}, {"default": value})
    return wrong.removeprefix("default: ") if wrong else None
