"""A rubric's tree: parts at the leaves, Weighted and Gate above them; its value, its names, its form as JSON.

A part is a function of an Episode or an instance of a class with `__call__(episode)`, made known by `@part`.
"""

import dataclasses
import functools
import importlib
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from recall_env.errors import EnvError, RecallError
from recall_env.nearest import did_you_mean, listed
from recall_env.rubric.episode import Episode, Judged, Verdict


class Part(Protocol):
    """A leaf: looks at one thing of an episode."""

    def __call__(self, episode: Episode) -> float | Judged:
        """The same for the same episode, finite, and within the bounds that `@part` was given."""


class Share(NamedTuple):
    """A part under a name, and what it adds to the sum."""

    weight: float  # 0: only recorded
    part: "Node"


@dataclass(frozen=True)
class Function:
    """A function that `@part` has made a part."""

    name: str
    function: Callable[[Episode], float]

    def __call__(self, episode: Episode) -> float | Judged:
        return self.function(episode)

    def __reduce__(self):
        return _imported, _home(self)  # under the function's name there is now the part


@dataclass(frozen=True)
class Weighted:
    """The weighted sum of named parts."""

    parts: Mapping[str, Share]

    def __init__(self, parts: Mapping[str, tuple[float, "Node"]]):
        """parts: name -> (weight, part). Raises RecallError for a name, a weight or a part that is none."""
        object.__setattr__(self, "parts", MappingProxyType(checked(parts)))

    def __hash__(self) -> int:
        return hash(tuple(self.parts.items()))

    def __reduce__(self):
        return type(self), (dict(self.parts),)  # a mapping proxy does not go through pickle or copy


@dataclass(frozen=True)
class Gate:
    """The value of `then` where that of `condition` is 1, else 0; `then` is looked at only there."""

    condition: "Node"
    then: "Node"

    def __post_init__(self) -> None:
        for name in ("condition", "then"):
            _check_node(getattr(self, name), f"Gate: {name}")


Node = Weighted | Gate | Part
Tree = dict[str, Any]  # a tree as JSON


class Kind(NamedTuple):
    """What `@part` knows of a part."""

    made: type | Function
    low: float
    high: float


PARTS: dict[str, Kind] = {}  # by name: the shipped ones, and those that a program adds


def part(definition: Any = None, *, bounds: tuple[float, float] = (0.0, 1.0)) -> Any:
    """Decorator: makes a function of an Episode, or a class with `__call__(episode)`, a part under its own name.

    A class is a frozen dataclass of JSON values, so that a rubric can be written to a file and read from one.
    bounds: what its values lie in; another one is the author's error. Raises RecallError for a name that is taken.
    """
    if definition is None:
        return functools.partial(part, bounds=bounds)
    name, low, high = definition.__name__, *map(float, bounds)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise RecallError(f"part {name}: bounds: expected two finite numbers, the lower one first, got {bounds!r}")
    if isinstance(definition, type) and not dataclasses.is_dataclass(definition):
        raise RecallError(f"part {name}: expected a dataclass; write @dataclass(frozen=True) under @part")
    taken = PARTS.get(name)
    if name in ("Weighted", "Gate") or (taken is not None and _home(taken.made) != _home(definition)):
        raise RecallError(f"there is a part {name!r} already; give yours another name")
    made = definition if isinstance(definition, type) else Function(name, definition)
    PARTS[name] = Kind(made, low, high)
    return made


def checked(parts: Mapping[str, tuple[float, Node]]) -> dict[str, Share]:
    """The parts of a Weighted or of a rubric, each looked at. Raises RecallError."""
    if not isinstance(parts, Mapping) or not parts:
        raise RecallError("a rubric needs named parts: {name: (weight, part)}")
    shares = {}
    for name, share in parts.items():
        if not isinstance(name, str) or not name or "." in name:
            raise RecallError(f"rubric part {name!r}: expected a name without a dot")
        if not isinstance(share, tuple) or len(share) != 2:
            raise RecallError(f"rubric part {name!r}: expected (weight, part), got {share!r}")
        weight, node = share
        if isinstance(weight, bool) or not isinstance(weight, Real) or not math.isfinite(weight):
            raise RecallError(f"rubric part {name!r}: expected a finite number as its weight, got {weight!r}")
        _check_node(node, f"rubric part {name!r}")
        shares[name] = Share(float(weight), node)
    return shares


def walk(parts: Mapping[str, Share], under: str = "") -> Iterator[tuple[str, Node]]:
    """Every node with its path, from the top: "outer", "outer.inner"."""
    for name, share in parts.items():
        yield from _walk(share.part, under + name)


def weights(parts: Mapping[str, Share]) -> dict[str, float]:
    """By path, those of the nodes that have one: the two of a Gate have none."""
    found = {name: share.weight for name, share in parts.items()}
    for path, node in walk(parts):
        if isinstance(node, Weighted):
            found |= {f"{path}.{name}": share.weight for name, share in node.parts.items()}
    return found


def total(parts: Mapping[str, Share], episode: Episode, values: dict[str, float], verdicts: dict) -> float:
    """The weighted sum. Writes each node's value under its path, and what judges said under its key."""
    return _sum(parts, "", episode, values, verdicts)


def full_marks(parts: Mapping[str, Share]) -> float:
    """The weighted sum where every leaf that is paid for is 1."""
    return sum(max(share.weight, 0.0) * _full_marks(share.part) for share in parts.values())


def to_dict(parts: Mapping[str, Share]) -> Tree:
    """Name -> {"weight": ..., "part": "Exact", and the part's own settings}."""
    return {name: {"weight": share.weight, **_written(share.part)} for name, share in parts.items()}


def from_dict(tree: Any, path: str = "rubric") -> dict[str, tuple[float, Node]]:
    """What to_dict wrote. Raises RecallError: where, and what stands there."""
    if not isinstance(tree, Mapping):
        raise RecallError(f"{path}: expected named parts, got {tree!r}")
    parts = {}
    for name, fields in tree.items():
        at = f"{path}.{name}"
        if not isinstance(fields, Mapping) or "weight" not in fields:
            raise RecallError(f"{at}: expected a part with a weight, got {fields!r}")
        parts[name] = (fields["weight"], _read({k: v for k, v in fields.items() if k != "weight"}, at))
    return parts


def _home(made: Any) -> tuple[str, str]:
    made = made.function if isinstance(made, Function) else made
    return made.__module__, made.__qualname__


def _imported(module: str, name: str) -> Any:
    return operator.attrgetter(name)(importlib.import_module(module))


def _kind(node: Node) -> Kind | None:
    name = node.name if isinstance(node, Function) else type(node).__name__
    kind = PARTS.get(name)
    ours = kind is not None and (kind.made is type(node) or kind.made == node)
    return kind if ours else None


def _check_node(node: Node, where: str) -> None:
    if not isinstance(node, Weighted | Gate) and _kind(node) is None:
        hint = f"write {node.__name__}()" if isinstance(node, type) else "make it one with @part"
        raise RecallError(f"{where}: expected a part, got {node!r}; {hint}")


def _walk(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    yield path, node
    if isinstance(node, Weighted):
        yield from walk(node.parts, f"{path}.")
    elif isinstance(node, Gate):
        yield from _walk(node.condition, f"{path}.condition")
        yield from _walk(node.then, f"{path}.then")


def _full_marks(node: Node) -> float:
    if isinstance(node, Weighted):
        return full_marks(node.parts)
    return _full_marks(node.then) if isinstance(node, Gate) else 1.0


def _sum(parts: Mapping[str, Share], under: str, episode: Episode, values: dict, verdicts: dict) -> float:
    each = {name: _value(share.part, under + name, episode, values, verdicts) for name, share in parts.items()}
    return sum(share.weight * each[name] for name, share in parts.items())


def _value(node: Node, path: str, episode: Episode, values: dict, verdicts: dict) -> float:
    if isinstance(node, Weighted):
        value = _sum(node.parts, f"{path}.", episode, values, verdicts)
    elif isinstance(node, Gate):
        opened = _value(node.condition, f"{path}.condition", episode, values, verdicts) == 1.0
        value = _value(node.then, f"{path}.then", episode, values, verdicts) if opened else 0.0
    else:
        value = _leaf(node, path, episode, verdicts)
    values[path] = value
    return value


def _leaf(node: Part, path: str, episode: Episode, verdicts: dict[str, Verdict]) -> float:
    try:
        value = node(episode)
    except EnvError as error:
        raise EnvError(f"rubric part {path!r}: {error}") from error
    except RecallError:  # not the author's fault
        raise
    except Exception as error:
        raise EnvError(f"rubric part {path!r} raised {type(error).__name__}: {error}") from error
    if isinstance(value, Judged):
        verdicts[value.key] = value.verdict
        value = value.value
    kind = _kind(node)
    if not isinstance(value, Real) or not kind.low <= value <= kind.high:  # NaN is in no range
        low_high = f"[{kind.low:g}, {kind.high:g}]"
        raise EnvError(f"rubric part {path!r}: expected a number in {low_high}, got {value!r}")
    return float(value)


def _written(node: Node) -> Tree:
    if isinstance(node, Weighted):
        return {"part": "Weighted", "parts": to_dict(node.parts)}
    if isinstance(node, Function):
        return {"part": node.name}
    fields = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    if isinstance(node, Gate):
        fields = {name: _written(inner) for name, inner in fields.items()}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    return {"part": type(node).__name__, **plain}


def _read(tree: Any, path: str) -> Node:
    name = tree.get("part") if isinstance(tree, Mapping) else None
    if not isinstance(name, str):
        raise RecallError(f"{path}: expected a part, with its name under 'part', got {tree!r}")
    fields = {key: value for key, value in tree.items() if key != "part"}
    made: Any = {"Weighted": Weighted, "Gate": Gate}.get(name)
    if made is None:
        if name not in PARTS:
            hint = did_you_mean(name, PARTS) or f"; there are: {listed(['Weighted', 'Gate', *PARTS], 20)}"
            raise RecallError(f"{path}: no rubric part {name!r}{hint}")
        made = PARTS[name].made
    known = () if isinstance(made, Function) else [field.name for field in dataclasses.fields(made)]
    for key in fields:
        if key not in known:
            raise RecallError(f"{path}: {name} has no {key!r}{did_you_mean(key, known)}")
    if isinstance(made, Function):
        return made
    if made is Weighted:
        return Weighted(from_dict(fields.get("parts"), f"{path}.parts"))
    if made is Gate:
        return Gate(*(_read(fields.get(key), f"{path}.{key}") for key in ("condition", "then")))
    try:
        return made(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})
    except (RecallError, TypeError, ValueError) as e:
        raise RecallError(f"{path}: {e}") from e
