"""Arguments against a tool's JSON Schema, on the host, in words for the model.

jsonschema-rs does the validation: it is the fastest kept validator, and it is Rust, so a schema from an untrusted
row runs no Python. References outside the schema are refused: the default would fetch them from the network.
"""

import functools
import json
from collections.abc import Callable
from typing import Any

from recall_env.errors import TaskError
from recall_env.nearest import did_you_mean

_MOST_ERRORS = 3  # a model that got one argument wrong needs one line, not thirty


def function_of(schema: dict[str, Any]) -> dict[str, Any]:
    """The {name, description, parameters} of an OpenAI tool schema, wrapped in {"type": "function"} or bare."""
    return schema["function"] if "function" in schema else schema


def argument_error(parameters: dict[str, Any], arguments: dict[str, Any]) -> str | None:
    """What is wrong with the arguments, as `count: expected integer, got string '3'`; None when they fit.

    A name the schema does not list is refused unless the schema says `additionalProperties` itself.
    Raises TaskError when `parameters` is no JSON Schema.
    """
    return argument_check(parameters)(arguments)


def argument_check(parameters: dict[str, Any]) -> Callable[[dict[str, Any]], str | None]:
    """argument_error of these `parameters`, for who asks it often: to look a validator up costs more than to use it."""
    return functools.partial(_argument_error, parameters, _validator(json.dumps(parameters, sort_keys=True)))


def _argument_error(parameters: dict[str, Any], validator: Any, arguments: dict[str, Any]) -> str | None:
    errors = []
    properties = parameters.get("properties", {})
    if "additionalProperties" not in parameters and "patternProperties" not in parameters:
        for name in arguments:
            if name not in properties:
                hint = did_you_mean(name, properties) or _known(properties)
                errors.append(f"{_short(name)}: no such argument{hint}")
    errors += [_in_words(error) for error in validator.iter_errors(arguments)]
    if not errors:
        return None
    more = f"; and {len(errors) - _MOST_ERRORS} more" if len(errors) > _MOST_ERRORS else ""
    return "; ".join(errors[:_MOST_ERRORS]) + more


def check_parameters(name: str, parameters: dict[str, Any]) -> None:
    """Raise TaskError when a tool's `parameters` is no JSON Schema."""
    try:
        _validator(json.dumps(parameters, sort_keys=True))
    except TaskError as error:
        raise TaskError(f"schema of tool {name!r}: {error}") from error


@functools.lru_cache(maxsize=4096)
def _validator(parameters: str):
    import jsonschema_rs

    def refuse(uri: str):
        raise ValueError(f"a reference outside the schema is not followed: {uri}")

    try:
        return jsonschema_rs.validator_for(json.loads(parameters), retriever=refuse)
    except Exception as error:  # it raises several types: ValueError, ValidationError, ReferencingError
        raise TaskError(f"parameters is not a JSON Schema: {str(error).splitlines()[0]}") from error


def _in_words(error) -> str:
    path = _short(".".join(str(step) for step in error.instance_path))
    if error.kind.name == "required":
        return f"{path + '.' if path else ''}{error.kind.property}: required, but missing"
    if error.kind.name == "type":
        types = sorted(error.kind.types, key=lambda name: (name == "null", name))
        return f"{path or 'arguments'}: expected {' or '.join(types)}, got {_shown(error.instance)}"
    return f"{path or 'arguments'}: {_short(error.message, 300)}"


_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{_JSON_TYPES[type(value)]} {_short(text)}"


def _short(text: str, most: int = 80) -> str:
    """A model's text is not to come back to it at full length."""
    return text if len(text) <= most else text[: most - 3] + "..."


def _known(properties: dict[str, Any]) -> str:
    return f"; it takes {', '.join(properties)}" if properties else "; it takes none"
