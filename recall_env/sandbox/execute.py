"""ReCall's `/execute`: a call's text read as data, results in ReCall's form, and interpreters kept warm for it.

The original pasted the text into Python and ran it in the server. Here it is parsed on the host and has to be what
ReCall's clients write, `name(key=literal, ...)`; name and arguments then travel as JSON, as everywhere else.
"""

import ast
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recall_env.sandbox.aio import AsyncSession
from recall_env.sandbox.broker import Channel, placeholders
from recall_env.tool_call import ToolResult

CALL_CHARS = 64 * 1024  # of a call's text; beyond it is not even parsed
NAMED_SOURCE_CHARS = 64 * 1024  # of a source that is parsed for the names of positional arguments
RETIRE_CALLS = 1000  # a warm interpreter is given up after so many: whatever tools left in it, goes
RETIRE_BUSY_S = 300.0  # or so long at work; its processor time is limited over its whole life


class CallError(Exception):
    """A text that is no plain call; its own text is what ReCall's client gets as `error`."""


def parse_call(text: str, source: str) -> tuple[str, dict[str, Any]]:
    """Name and arguments of `name(key=literal, ...)`. Nothing of it is run. Raises CallError.

    source: where positional arguments find their names, in the `def` of that name.
    """
    if len(text) > CALL_CHARS:
        raise CallError(f"the call has {len(text)} characters; the limit is {CALL_CHARS}")
    try:
        node = ast.parse(text.strip(), "<call>", "eval").body
        if type(node) is not ast.Call or type(node.func) is not ast.Name:
            raise CallError("not a plain call: expected name(argument=value, ...), where every value is a literal")
        arguments: dict[str, Any] = {}
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg in arguments:
                what = "unpacks a mapping" if keyword.arg is None else f"has {keyword.arg!r} twice"
                raise CallError(f"not a plain call: it {what}")
            value = keyword.value
            arguments[keyword.arg] = value.value if type(value) is ast.Constant else ast.literal_eval(value)
        if node.args:
            _name_positional(node, source, arguments)
        return node.func.id, arguments
    except SyntaxError as error:
        raise CallError(f"{error.msg} (<call>, line {error.lineno or 1})") from error
    except (ValueError, TypeError):
        raise CallError("not a plain call: an argument is not a literal") from None
    except (RecursionError, MemoryError):
        raise CallError("not a plain call: it nests too deeply") from None


def response(result: ToolResult, timeout_s: float) -> bytes:
    """ReCall's {output, result, error} as JSON. Falsy results are kept; leaving them out is the client's doing."""
    return encode(result.stdout, result.value, _error(result, timeout_s))


def encode(output: str, value: Any, error: str | None) -> bytes:
    return _ENCODER.encode({"output": output, "result": value, "error": error}).encode("ascii")


def with_services(source: str, addresses: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """A source and the configured services that it names: by placeholder, by `http://NAME`, or by the very address.

    ReCall's clients put the address in the placeholder's place (`data.search_url`); it is put back here.
    """
    names = [name for name in placeholders(source) if name in addresses]
    for name, address in addresses.items():
        if address in source:
            source = re.sub(re.escape(address) + r"(?![\w.:-])", f"<{name}-url-placeholder>", source)
        if name not in names and (f"<{name}-url-placeholder>" in source or f"http://{name}" in source):
            names.append(name)
    return source, tuple(names)


@dataclass(eq=False)
class Warm:
    """An interpreter with its source loaded. key: whose it is and what source it runs; nobody else gets it."""

    key: tuple[str, str]
    session: AsyncSession
    channel: Channel | None = None
    calls: int = 0
    busy_s: float = 0.0
    used_at: float = 0.0  # on the monotonic clock

    @property
    def sound(self) -> bool:
        return self.calls < RETIRE_CALLS and self.busy_s < RETIRE_BUSY_S and self.session.sound


@dataclass
class WarmSessions:
    """Idle Warms, the longest unused given up when there are more than `most`. For one event loop."""

    most: int
    _idle: dict[Warm, None] = field(default_factory=dict)  # in the order of their last use
    _by_key: dict[tuple[str, str], list[Warm]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._idle)

    def take(self, key: tuple[str, str]) -> Warm | None:
        """One that is sound and now the caller's alone, or None."""
        stack = self._by_key.get(key)
        while stack:
            warm = stack.pop()
            del self._idle[warm]
            if not stack:
                del self._by_key[key]
            if warm.sound:
                return warm
            warm.session.close()
        return None

    def put(self, warm: Warm) -> None:
        """Back after use; closed instead when it is dead or has served long enough."""
        if not warm.sound or self.most == 0:
            warm.session.close()
            return
        self._idle[warm] = None
        self._by_key.setdefault(warm.key, []).append(warm)
        if len(self._idle) > self.most:
            self._drop(next(iter(self._idle)))

    def expire(self, oldest: float) -> None:
        """Give up those whose last use was before `oldest`."""
        while self._idle and (warm := next(iter(self._idle))).used_at < oldest:
            self._drop(warm)

    def close(self) -> None:
        for warm in list(self._idle):
            self._drop(warm)

    def _drop(self, warm: Warm) -> None:
        del self._idle[warm]
        stack = self._by_key[warm.key]
        stack.remove(warm)
        if not stack:
            del self._by_key[warm.key]
        warm.session.close()


def _error(result: ToolResult, timeout_s: float) -> str | None:
    if result.status == "ok":
        return None
    if result.status == "timeout":
        return f"execution timed out after {timeout_s:g} s"
    if result.status == "output_truncated":
        return "the result or what was printed is too long and was cut"
    return result.error_message or result.status


def _name_positional(node: ast.Call, source: str, arguments: dict[str, Any]) -> None:
    """Put the positional values of a call among its keyword arguments, under the names that the source gives them."""
    name = node.func.id
    parameters = parameters_of(source, name)
    if parameters is None or len(node.args) > len(parameters):
        raise CallError(f"{name}: pass arguments by keyword, as name(argument=value, ...)")
    for parameter, value in zip(parameters, node.args, strict=False):
        if parameter in arguments:
            raise CallError(f"{name}() got multiple values for argument {parameter!r}")
        arguments[parameter] = ast.literal_eval(value)


@functools.lru_cache(maxsize=256)
def parameters_of(source: str, name: str) -> tuple[str, ...] | None:
    """Parameters that a top-level function takes by position, from its last `def`; None when it cannot be told."""
    if len(source) > NAMED_SOURCE_CHARS:
        return None
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in body if isinstance(node, kinds) and node.name == name]
    if not found or found[-1].args.posonlyargs or found[-1].decorator_list:
        return None
    return tuple(argument.arg for argument in found[-1].args.args)


_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))  # made once, as in wire.py
