"""What callers of `recall-env serve` send, read and checked; and the one form in which they are refused."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from recall_env.errors import TaskError
from recall_env.nearest import did_you_mean, listed
from recall_env.sandbox.limits import Limits
from recall_env.sandbox.session import Mode
from recall_env.schema import argument_error, check_parameters, function_of
from recall_env.tool_call import ToolResult

MODES: tuple[Mode, ...] = get_args(Mode)
SEED_BITS = 63

Fields = Mapping[str, Any]
Refuse = Callable[[str, dict[str, Any]], ToolResult | None]


class Refusal(Exception):
    """A request that is not carried out. Its text is for the caller; close: the connection cannot be used further."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *headers: tuple[bytes, bytes],
        retry_after_s: int | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.reason, self.close = status, reason, close
        self.headers = headers
        if retry_after_s is not None:
            self.headers = (*headers, (b"retry-after", b"%d" % retry_after_s))

    def body(self) -> bytes:
        return json.dumps({"error": {"type": self.reason, "message": str(self)}}).encode("ascii")


class Gone(Exception):
    """The caller went away before all of the request was there."""


@dataclass(frozen=True)
class OpenRequest:
    """The body of POST /sessions. services: None where it does not say; refuse: what its schemas forbid."""

    source: str
    state: Any
    seed: int
    mode: Mode
    limits: Limits
    services: tuple[str, ...] | None
    refuse: Refuse

    @classmethod
    def read(cls, fields: Fields, ceiling: Limits) -> "OpenRequest":
        seed, mode, services = fields.get("seed", 0), fields.get("mode", "stateful"), fields.get("services")
        if not isinstance(seed, int) or isinstance(seed, bool) or abs(seed).bit_length() > SEED_BITS:
            raise invalid(f"seed: expected an integer of {SEED_BITS} bits, got {_short(seed)}")
        if mode not in MODES:
            raise invalid(f"mode: expected {', '.join(MODES)}, got {_short(mode)}")
        if services is not None and not _all(services, str):
            raise invalid(f"services: expected a list of names, got {_short(services)}")
        return cls(
            source=text(fields, "source"),
            state=fields.get("state"),
            seed=seed,
            mode=mode,
            limits=_limits(fields.get("limits"), ceiling),
            services=None if services is None else tuple(services),
            refuse=_refuse(fields.get("schemas")),
        )


OPEN_KEYS = ("source", "state", "seed", "mode", "limits", "services", "schemas")
CALL_KEYS = ("name", "arguments", "timeout")


def invalid(message: str) -> Refusal:
    return Refusal(422, "invalid", message)


def object_of(body: bytes, known: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The JSON object that a body is. known: the keys it may have, where others are refused."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        why = "nests too deeply" if isinstance(error, RecursionError) else str(error)
        raise Refusal(400, "bad_json", f"the body is not JSON: {why}") from error
    if not isinstance(fields, dict):
        raise invalid("the body: expected an object")
    if known is not None and not fields.keys() <= set(known):
        name = next(key for key in fields if key not in known)
        raise invalid(f"{name[:80]}: no such field{did_you_mean(name[:80], known) or f'; there are {listed(known)}'}")
    return fields


def text(fields: Fields, key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise invalid(f"{key}: expected text, got {'nothing' if value is None else _short(value)}")
    return value


def seconds(fields: Fields, key: str, default: float) -> float:
    """A number above 0; `default` where it is absent or null."""
    value = fields.get(key)
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise invalid(f"{key}: expected seconds above 0, got {_short(value)}")
    return value


def _limits(changes: Any, ceiling: Limits) -> Limits:
    if changes is None:
        return Limits()
    if not isinstance(changes, dict):
        raise invalid(f"limits: expected an object, got {_short(changes)}")
    try:
        return Limits().overridden(changes, ceiling)
    except (TypeError, ValueError) as error:
        raise invalid(str(error)) from error


def _refuse(schemas: Any) -> Refuse:
    """Checks calls against OpenAI tool schemas; where there are none, whatever the source defines may be called."""
    if schemas is None:
        return lambda name, arguments: None
    if not _all(schemas, dict):
        raise invalid(f"schemas: expected a list of tool schemas, got {_short(schemas)}")
    parameters: dict[str, dict[str, Any]] = {}
    for number, schema in enumerate(schemas):
        function = function_of(schema)
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not name or name in parameters:
            raise invalid(f"schemas[{number}]: expected a tool schema with a name of its own, got {_short(schema)}")
        parameters[name] = function.get("parameters") or {}
        if not isinstance(parameters[name], dict):
            raise invalid(f"schemas[{number}].parameters: expected a JSON Schema object")
        try:
            check_parameters(name, parameters[name])
        except TaskError as error:
            raise invalid(f"schemas[{number}]: {error}") from error

    def refuse(name: str, arguments: dict[str, Any]) -> ToolResult | None:
        if name not in parameters:
            hint = did_you_mean(name[:80], parameters) or f"; the tools are {listed(parameters, 20)}"
            return ToolResult("unknown_tool", error_message=f"no tool {_short(name)}{hint}")
        error = argument_error(parameters[name], arguments)
        return None if error is None else ToolResult("invalid_arguments", error_message=error)

    return refuse


def _all(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
