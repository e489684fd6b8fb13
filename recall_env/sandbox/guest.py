"""The episode inside the jail: loads a tool source, keeps its module alive, answers calls until its socket closes.

Not the boundary: a tool shares this interpreter and may change anything in it, which amounts to choosing its own
return value. What holds tools is around this process (jail.py, zygote.py), and what is believed of a reply is decided
on the host (episode.py). Standard library only, run as a script beside wire.py and determinism.py, never imported by
the host.
"""

import asyncio
import base64
import contextlib
import errno
import gc
import io
import json
import linecache
import marshal
import os
import socket
import sys
import types
from collections.abc import Callable
from typing import Any

import code_cache
import determinism
import rlimits
import services_shim
import sharing
import values
import wire

MODULE = "__task__"
FILE = "<tools>"
MESSAGE_CHARS = 1000
CODE_FRAME_BYTES = 256  # of a frame with code, what is not the code
read = json.JSONDecoder().raw_decode  # text -> value, end; json.loads looks for more that the host never sends
DATA = frozenset({dict, list, str, int, float, bool, type(None)})  # to tell these apart from coroutines is quick


class Printed(io.TextIOBase):
    """What a call prints, kept up to a limit: a tool that prints for ever must not fill the memory.

    One for the whole episode, for a source may keep it, as `logging.StreamHandler(sys.stdout)` does.
    """

    def __init__(self, limit_chars: int) -> None:
        self.limit_chars = limit_chars
        self.parts: list[str] = []
        self.chars = 0

    def begin_call(self, limit_chars: int) -> None:
        self.limit_chars, self.parts, self.chars = limit_chars, [], 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        room = self.limit_chars + 1 - self.chars
        if room > 0 and text:
            self.parts.append(text[:room])
            self.chars += min(len(text), room)
        return len(text)


UNSEEN = Printed(0)  # for what goes to stderr


class Tools:
    """One loaded source: `load` once (or for every call, in mode `fresh`), then `call`."""

    def __init__(self, document: dict[str, Any], on_compiled: Callable[[bytes | None], None] | None = None) -> None:
        """on_compiled: given the code as bytes, or None when it has none, before any of it runs; not called when the
        document brings it."""
        self.state = document["state"]
        self.given_code: str | None = document.pop("code")
        self.shares_code = self.given_code is not None
        self.on_compiled = on_compiled
        self.printed = Printed(0)
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
            gc.collect()  # or the next collection would come sooner where there was more to compile
        module = types.ModuleType(MODULE)
        sys.modules[MODULE] = module  # dataclasses and typing look their module up there
        self.namespace = module.__dict__
        exec(self.code, self.namespace)
        setup = self.namespace.get("setup")
        if self.defined(setup):
            # Through JSON, so that a `fresh` source never sees what an earlier call did to the state.
            self.finish(setup(json.loads(json.dumps(self.state))))

    def compiled(self) -> types.CodeType:
        """As it is read back, also by who compiled it: constant sets are in another order then."""
        given, self.given_code = self.given_code, None
        if given is not None:
            return marshal.loads(base64.b64decode(given))
        code, written = compile(self.source, FILE, "exec", dont_inherit=True), None
        with contextlib.suppress(ValueError, MemoryError):  # it nests too deep, or is huge
            written = marshal.dumps(code)
            code = marshal.loads(written)
        if self.on_compiled is not None:
            self.on_compiled(written)
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
        if type(value) in DATA or not asyncio.iscoroutine(value):
            return value
        if self.loop is None:
            self.loop = asyncio.Runner()
        return self.loop.run(value)


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


class Reply:
    """To one request. value: as JSON text, for the length of the text has been looked at already."""

    __slots__ = ("error_message", "error_type", "status", "stdout", "value")

    def __init__(self) -> None:
        self.status, self.value, self.stdout = "ok", "null", ""
        self.error_type: str | None = None
        self.error_message: str | None = None

    def fail(self, status: str, kind: str, message: str) -> None:
        self.status, self.value, self.error_type, self.error_message = status, "null", kind, message

    def text(self, nonce: str) -> str:
        """The frame (wire.REPLY_KEYS). Put together here: to encode the value again would cost as much as a call."""
        rest = '"stdout":"","error_type":null,"error_message":null'
        if self.stdout or self.error_type is not None:
            told = {"stdout": self.stdout, "error_type": self.error_type, "error_message": self.error_message}
            rest = wire.as_ascii(told)[1:-1]
        return f'{{"nonce":"{nonce}","status":"{self.status}","value":{self.value},{rest}}}'


def answer(tools: Tools, request: dict[str, Any], limits: dict[str, Any]) -> Reply:
    """Run one request. A tool can raise anything, BaseException included."""
    limit_bytes, loads = limits["output_bytes"], request["op"] == "load"
    reply, printed = Reply(), tools.printed
    printed.begin_call(limit_bytes)
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = printed, UNSEEN
    try:
        if loads:
            tools.load()
        elif not tools.has(name := request["name"]):
            reply.fail("unknown_tool", "NameError", f"the tools define no function {name[:200]!r}")
        else:
            reply.value = values.written(tools.call(name, request["arguments"]))
            if len(reply.value) > limit_bytes:
                is_text = reply.value.startswith('"')
                told, overflow = values.cut(json.loads(reply.value) if is_text else reply.value, limit_bytes)
                reply.value = wire.as_ascii(told)
                reply.status = "output_truncated" if overflow else "ok"
    except MemoryError:
        reply.fail("out_of_memory", "MemoryError", "the tool ran out of memory")
    except BaseException as error:
        kind, message = describe(error)
        line = _line(error)
        reply.fail("tool_error", kind, f"line {line}: {message}" if loads and line else message)
    finally:
        sys.stdout, sys.stderr = streams
    if printed.parts:
        reply.stdout, overflow = values.cut("".join(printed.parts), limit_bytes)
        if overflow and reply.status == "ok":
            reply.status = "output_truncated"
    return reply


class Server:
    """Answers the host's requests, one after another."""

    def __init__(self, sock: socket.SocketType, limits: dict[str, Any]) -> None:
        self.sock, self.limits, self.frame_bytes = sock, limits, limits["frame_bytes"]
        self.nonce = ""  # of the request under way
        self.text: list[str] = []  # of the document to load, as far as it has come
        self.tools: Tools | None = None

    def serve(self) -> None:
        """Until the host closes its end."""
        sock, room = self.sock, wire.make_room(self.frame_bytes)
        while size := sock.recv_into(room):
            request, _ = read(str(room[:size], "ascii"))
            self.nonce = request["nonce"]
            loads = request["op"] == "load"
            if loads:
                self.text.append(request["text"])
                if request["more"]:
                    continue
                self.begin(json.loads("".join(self.text)))
            reply = answer(self.tools, request, self.limits)
            if loads and not self.tools.shares_code:
                sharing.give_back()
            sock.send(reply.text(self.nonce).encode("ascii"))

    def begin(self, document: dict[str, Any]) -> None:
        self.text = []
        if document["services"]:
            services_shim.install(self.ask, document["services"])
        self.tools = Tools(document, self.send_code if document["send_code"] else None)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """A service's answer, by way of the host, to whom this belongs to the call under way."""
        try:
            payload = wire.encode({"nonce": self.nonce, **request}, self.frame_bytes)
        except wire.WireError as error:
            raise services_shim.RequestException(str(error)) from error
        self.sock.send(payload)
        return json.loads(wire.receive(self.sock, self.frame_bytes))

    def send_code(self, code: bytes | None) -> None:
        """For the next episode of this source. An empty one when it does not fit into a frame: the host expects one."""
        fits = code is not None and len(code) * 4 // 3 + CODE_FRAME_BYTES <= self.frame_bytes
        text = base64.b64encode(code).decode() if fits else ""
        self.sock.send(wire.encode({"nonce": self.nonce, "code": text}, self.frame_bytes))


def serve(sock: socket.SocketType, seed: int, limits: dict[str, Any]) -> None:
    """Answer requests until the host closes its end; returns then."""
    determinism.seed(seed)
    Server(sock, limits).serve()


def run_to_end(sock: socket.SocketType, seed: int, limits: dict[str, Any]) -> None:
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


def hide_our_modules() -> None:
    """These files are not for tools, whose own `import values` is to fail as anywhere else."""
    for name in os.listdir(sys.path.pop(0)):
        sys.modules.pop(name.removesuffix(".py"), None)


def main() -> None:
    """Run unjailed, for UnsafePool: `guest.py SOCKET_FD JSON`, JSON being {"seed": ..., "limits": {...}}."""
    order = json.loads(sys.argv[2])
    sock = socket.socket(fileno=int(sys.argv[1]))
    determinism.install()
    code_cache.install()
    hide_our_modules()
    rlimits.apply(order["limits"])
    run_to_end(sock, order["seed"], order["limits"])


if __name__ == "__main__":
    main()
