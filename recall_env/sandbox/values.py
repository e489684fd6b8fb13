"""Inside the jail: what a tool returned, as JSON data or as an error that says what is not. Standard library only."""

import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import math
import re
import uuid
from collections import deque
from typing import Any

import wire

MAX_VALUE_DEPTH = wire.MAX_DEPTH - 8  # the frame's own object and the path to the value take a few levels
REPR_CHARS = 200
AS_TEXT = (decimal.Decimal, fractions.Fraction, uuid.UUID, datetime.timedelta)
AS_LIST = (list, tuple, deque, range, type({}.keys()), type({}.values()), type({}.items()))


class ResultError(Exception):
    """A tool's return value is not data that JSON can carry."""


def written(value: Any) -> str:
    """`value` as JSON text; ResultError for what is no data. Most values are data already, and written as they are."""
    try:
        text = wire.as_ascii(value)
    except (TypeError, ValueError, RecursionError):  # no data as it stands, NaN, or a circle
        return wire.as_ascii(plain(value))
    # A bracket in a text is counted too: one look too many.
    return text if text.count("[") + text.count("{") <= MAX_VALUE_DEPTH else wire.as_ascii(plain(value))


def plain(value: Any, depth: int = 0) -> Any:
    """`value` as JSON data, or ResultError naming what is not: nothing is turned into a `repr` behind one's back."""
    kind = type(value)
    if value is None or kind is str or kind is bool or kind is int:
        return value
    if depth > MAX_VALUE_DEPTH:
        raise ResultError(f"the value nests deeper than {MAX_VALUE_DEPTH}, or contains itself")
    if kind is float:
        if not math.isfinite(value):
            raise ResultError(f"the value holds {value!r}, which JSON does not have")
        return value
    if isinstance(value, dict):
        return {_key(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, AS_LIST):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, set | frozenset):
        return _sorted([plain(item, depth + 1) for item in value])
    if isinstance(value, enum.Enum):
        return plain(value.value, depth + 1)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return plain(float(value), depth)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name), depth + 1) for item in dataclasses.fields(value)}
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, AS_TEXT):
        return str(value)
    raise ResultError(
        f"the tool returned a value of type {kind.__name__}, which is not JSON data; return text, numbers, "
        f"lists, dicts or dataclasses. It was {_shown(value)}"
    )


def _shown(value: Any) -> str:
    """Its repr, without the addresses that differ from play to play, and not for ever long."""
    try:
        text = re.sub(r" at 0x[0-9a-f]+", "", repr(value)[: 4 * REPR_CHARS])
    except Exception as broken:  # the tool's own __repr__ may do anything
        return f"something whose repr raises {type(broken).__name__}"
    return text if len(text) <= REPR_CHARS else f"{text[:REPR_CHARS]}..."


def _key(key: Any) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, bool):
        return json.dumps(key)
    if isinstance(key, int | float):
        return (int if isinstance(key, int) else float).__repr__(key)  # as JSON writes it, of a class of one's own too
    if isinstance(key, decimal.Decimal | uuid.UUID | datetime.date):
        return str(key)
    raise ResultError(f"the value holds a dict with a key of type {type(key).__name__}; keys must be text or numbers")


def _sorted(items: list[Any]) -> list[Any]:
    """Sets have no order of their own; the same set must give the same bytes."""
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=lambda item: (type(item).__name__, json.dumps(item, sort_keys=True)))


def cut(text: str, limit_bytes: int) -> tuple[str, bool]:
    """`text` within `limit_bytes` of UTF-8, and whether something was cut off."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit_bytes:
        return raw.decode("utf-8"), False
    return raw[:limit_bytes].decode("utf-8", "ignore"), True
