"""The episode inside the jail: loads a tool source, keeps its module alive, answers calls until its socket closes.

Not the boundary: a tool shares this interpreter and may change anything in it, which amounts to choosing its own
return value. What holds tools is around this process (jail.py, zygote.py), and what is believed of a reply is decided
on the host (pool.py). Standard library only, run as a script beside wire.py and determinism.py, never imported by
the host.
"""

import asyncio
import base64
import contextlib
import dataclasses
import datetime
import decimal
import enum
import errno
import fractions
import io
import json
import linecache
import marshal
import math
import os
import re
import socket
import sys
import types
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

import code_cache
import determinism
import rlimits
import services_shim
import sharing
import turns
import wire

MODULE = "__task__"
FILE = "<tools>"
MAX_VALUE_DEPTH = wire.MAX_DEPTH - 8  # the frame's own object and the path to the value take a few levels
MESSAGE_CHARS = 1000
REPR_CHARS = 200
AS_TEXT = (decimal.Decimal, fractions.Fraction, uuid.UUID, datetime.timedelta)
AS_LIST = (list, tuple, deque, range, type({}.keys()), type({}.values()), type({}.items()))


class ResultError(Exception):
    """A tool's return value is not data that JSON can carry."""


class Printed(io.TextIOBase):
    """What a call prints, kept up to a limit: a tool that prints for ever must not fill the memory."""

    def __init__(self, limit_chars: int) -> None:
        self.limit_chars = limit_chars
        self.parts: list[str] = []
        self.chars = 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        room = self.limit_chars + 1 - self.chars
        if room > 0 and text:
            self.parts.append(text[:room])
            self.chars += min(len(text), room)
        return len(text)


class Tools:
    """One loaded source: `load` once (or for every call, in mode `fresh`), then `call`."""

    def __init__(self, document: dict[str, Any], on_compiled: Callable[[types.CodeType], None] | None = None) -> None:
        """on_compiled: told of the code, before any of it runs, when the document brings none."""
        self.state = document["state"]
        self.given_code: str | None = document["code"]
        self.on_compiled = on_compiled
        self.fresh = document["mode"] == "fresh"
        self.code: types.CodeType | None = None
        self.source: str = document["source"]
        self.loop: asyncio.Runner | None = None
        self.namespace: dict[str, Any] = {}

    def load(self) -> None:
        if self.code is None:
            lines = self.source.splitlines(keepends=True)
            linecache.cache[FILE] = (len(self.source), None, lines, FILE)
            self.code = self.compiled()
        module = types.ModuleType(MODULE)
        sys.modules[MODULE] = module  # dataclasses and typing look their module up there
        self.namespace = module.__dict__
        exec(self.code, self.namespace)
        setup = self.namespace.get("setup")
        if self.defined(setup):
            # Through JSON, so that a `fresh` source never sees what an earlier call did to the state.
            self.finish(setup(json.loads(json.dumps(self.state))))

    def compiled(self) -> types.CodeType:
        if self.given_code is not None:
            return marshal.loads(base64.b64decode(self.given_code))
        code = compile(self.source, FILE, "exec", dont_inherit=True)
        if self.on_compiled is not None:
            self.on_compiled(code)
        return code

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        if self.fresh:
            self.load()
        return self.finish(self.namespace[name](**arguments))

    def has(self, name: str) -> bool:
        return not name.startswith("_") and name != "setup" and self.defined(self.namespace.get(name))

    def defined(self, value: Any) -> bool:
        """A function of the source's own: not a class, and not something it imported."""
        return callable(value) and not isinstance(value, type) and getattr(value, "__module__", None) == MODULE

    def finish(self, value: Any) -> Any:
        """The value, awaited on the episode's one event loop when it is a coroutine."""
        if not asyncio.iscoroutine(value):
            return value
        if self.loop is None:
            self.loop = asyncio.Runner()
        return self.loop.run(value)


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
    if isinstance(key, int | float | decimal.Decimal | uuid.UUID | datetime.date):
        return str(key)
    raise ResultError(f"the value holds a dict with a key of type {type(key).__name__}; keys must be text or numbers")


def _sorted(items: list[Any]) -> list[Any]:
    """Sets have no order of their own; the same set must give the same bytes."""
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=lambda item: (type(item).__name__, json.dumps(item, sort_keys=True)))


def describe(error: BaseException) -> tuple[str, str]:
    """Type and message of what a tool raised, in words a model can use; never a traceback, never a host path."""
    name = type(error).__name__[:100]
    line = _line(error)
    try:
        message = str(error)
    except BaseException as broken:  # the tool's own __str__ may do anything
        message = f"(its message cannot be shown: {type(broken).__name__})"
    if isinstance(error, SystemExit):
        message = f"the tool tried to exit the interpreter ({message or 'no code'})"
    elif isinstance(error, AssertionError) and not message:
        text = linecache.cache[FILE][2][line - 1].strip() if line else ""
        message = f"assertion failed: {text}" if text else "assertion failed"
    elif not message:
        message = f"{name} (no message)"
    return name, message[:MESSAGE_CHARS]


def _line(error: BaseException) -> int | None:
    """The innermost line of the tool source that the error passed through."""
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def cut(text: str, limit_bytes: int) -> tuple[str, bool]:
    """`text` within `limit_bytes` of UTF-8, and whether something was cut off."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit_bytes:
        return raw.decode("utf-8"), False
    return raw[:limit_bytes].decode("utf-8", "ignore"), True


def answer(tools: Tools, request: dict[str, Any], limits: dict[str, Any]) -> dict[str, Any]:
    """Run one request; the reply without its nonce. A tool can raise anything, BaseException included."""
    limit_bytes = limits["output_bytes"]
    reply: dict[str, Any] = {"status": "ok", "value": None, "error_type": None, "error_message": None}
    printed, unseen = Printed(limit_bytes), Printed(0)
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(unseen):
            if request["op"] == "load":
                tools.load()
            elif not tools.has(request["name"]):
                reply |= {
                    "status": "unknown_tool",
                    "error_type": "NameError",
                    "error_message": f"the tools define no function {request['name'][:200]!r}",
                }
            else:
                value = plain(tools.call(request["name"], request["arguments"]))
                text = json.dumps(value, allow_nan=False, separators=(",", ":"))
                if len(text) > limit_bytes:
                    value, overflow = cut(value if isinstance(value, str) else text, limit_bytes)
                    reply["status"] = "output_truncated" if overflow else "ok"
                reply["value"] = value
    except MemoryError:
        reply |= {"status": "out_of_memory", "error_type": "MemoryError", "error_message": "the tool ran out of memory"}
    except BaseException as error:
        kind, message = describe(error)
        line = _line(error)
        if request["op"] == "load" and line:
            message = f"line {line}: {message}"
        reply |= {"status": "tool_error", "error_type": kind, "error_message": message}
    reply["stdout"], overflow = cut("".join(printed.parts), limit_bytes)
    if overflow and reply["status"] == "ok":
        reply["status"] = "output_truncated"
    return reply


# What sources commonly do, for the zygote to have done before it forks: CPython rewrites code for the types it meets,
# and does so in memory that every episode would otherwise have to copy for itself.
WARM_UP = '''
import dataclasses, datetime, enum, json, math, random, re
from collections import Counter, defaultdict, namedtuple
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Union

class Colour(enum.Enum):
    RED = "red"

Pair = namedtuple("Pair", "left right")

@dataclass
class Item:
    name: str
    price: float = 0.0
    tags: List[str] = field(default_factory=list)

@dataclass(frozen=True, order=True)
class Key:
    number: int

ITEMS = {name: Item(name, 1.5 * number, [name]) for number, name in enumerate(("a", "b", "c"))}
WORD = re.compile(r"^[a-z]+$")

class Store:
    def __init__(self, state: Optional[Dict[str, Any]] = None):
        self.rows = [{"id": number, "name": f"row {number}"} for number in range(5)]
        self.seen = defaultdict(list)

    def find(self, text: str) -> Union[dict, None]:
        return next((row for row in sorted(self.rows, key=lambda row: row["id"]) if text in row["name"]), None)

STORE = Store()

def setup(state):
    STORE.seen["state"].append(state)

def look_up(item: str, count: int = 1) -> dict:
    """A row."""
    if not WORD.match(item):
        raise ValueError(f"bad name {item!r}")
    total = round(sum(each.price for each in ITEMS.values()) * count, 2)
    print("looked up", item)
    return {"item": dataclasses.asdict(ITEMS[item]), "total": total, "row": STORE.find("2"),
            "when": str(datetime.date(2024, 1, 2)), "words": Counter("a b".split()), "text": json.dumps([1, None])}
'''


def warm_up(limits: dict[str, Any]) -> None:
    """Play a small episode in this process, and forget it."""
    sources, types_seen = dict(linecache.cache), dict(sys.modules)
    for mode in ("stateful", "fresh"):
        document = {"source": WARM_UP, "code": None, "state": {"a": 1}, "mode": mode, "services": []}
        tools = Tools(document, lambda code: marshal.loads(base64.b64decode(base64.b64encode(marshal.dumps(code)))))
        replies = [answer(tools, {"op": "load"}, limits)]
        for arguments in ({"item": "a"}, {"item": "b", "count": 2}, {"item": "?"}, {"wrong": 1}) * 3:
            replies.append(answer(tools, {"op": "call", "name": "look_up", "arguments": arguments}, limits))
        for reply in replies:
            wire.decode(wire.encode({"nonce": "0", **reply}, limits["frame_bytes"]), (wire.REPLY_KEYS,), 1 << 20)
    linecache.cache.clear()
    linecache.cache.update(sources)
    for name in sys.modules.keys() - types_seen.keys():
        if name == MODULE:
            del sys.modules[name]


def serve(sock: socket.socket, seed: int, limits: dict[str, Any]) -> None:
    """Answer requests until the host closes its end; returns then."""
    determinism.seed(seed)
    frame_bytes, text, tools = limits["frame_bytes"], [], None
    nonce = ""

    def ask(request: dict[str, Any]) -> dict[str, Any]:
        """A service's answer, by way of the host, to whom this belongs to the call under way."""
        try:
            payload = wire.encode({"nonce": nonce, **request}, frame_bytes)
        except wire.WireError as error:
            raise services_shim.RequestException(str(error)) from error
        sock.send(payload)
        return json.loads(wire.receive(sock, frame_bytes))

    def send_code(code: types.CodeType) -> None:
        """For the next episode of this source; an empty one when it does not fit into a frame, or nests too deep."""
        try:
            text = base64.b64encode(marshal.dumps(code)).decode()
            payload = wire.encode({"nonce": nonce, "code": text}, frame_bytes)
        except (ValueError, wire.WireError):
            payload = wire.encode({"nonce": nonce, "code": ""}, frame_bytes)
        sock.send(payload)

    while payload := wire.receive(sock, frame_bytes):
        request = json.loads(payload)
        nonce = request["nonce"]
        if request["op"] == "load":
            text.append(request["text"])
            if request["more"]:
                continue
            document = json.loads("".join(text))
            text = []
            if document["services"]:
                services_shim.install(ask, document["services"])
            tools = Tools(document, send_code if document["send_code"] else None)
        turns.begin_tool()
        reply = {"nonce": nonce, **answer(tools, request, limits)}
        if request["op"] == "load" and tools.given_code is None:
            sharing.give_back()
        turns.end_tool()
        sock.send(wire.encode(reply, frame_bytes))


def run_to_end(sock: socket.socket, seed: int, limits: dict[str, Any]) -> None:
    """Serve, then exit without waiting for threads that a tool left behind. ENOMEM is the one code that says why."""
    code = 1
    try:
        serve(sock, seed, limits)
        code = 0
    except MemoryError:
        code = errno.ENOMEM
    except ConnectionError:  # the host went away in mid-reply
        code = 0
    finally:
        os._exit(code)


def main() -> None:
    """Run unjailed, for UnsafePool: `guest.py SOCKET_FD JSON`, JSON being {"seed": ..., "limits": {...}}."""
    order = json.loads(sys.argv[2])
    sock = socket.socket(fileno=int(sys.argv[1]))
    sys.path.pop(0)  # this folder: its files are not for tools
    determinism.install()
    code_cache.install()
    rlimits.apply(order["limits"])
    run_to_end(sock, order["seed"], order["limits"])


if __name__ == "__main__":
    main()
