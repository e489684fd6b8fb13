"""Frames between host and guest: one JSON object in one datagram of an AF_UNIX SOCK_SEQPACKET socket.

The kernel keeps datagram boundaries, so a datagram is a length-prefixed frame whose length cannot be forged and a
stream that cannot lose step. Every reply echoes its request's 64-bit nonce; anything else on the socket (a frame
nobody asked for, a second one, a cut one, a wrong key, NaN, a passed descriptor) is a WireError, and the episode that
sent it is ended. JSON is the only thing ever decoded.

Standard library only: this file is also mounted into the jail and imported there as a top-level module.
"""

import json
import mmap
import re
import select
import socket
import threading
from collections.abc import Callable
from json import encoder
from typing import Any

MAX_DEPTH = 64  # of nested arrays and objects in one frame
CHUNK_CHARS = 64 * 1024  # of a load document per frame
REQUEST_KEYS = {
    "load": frozenset({"nonce", "op", "text", "more"}),
    "call": frozenset({"nonce", "op", "name", "arguments"}),
}
REPLY_KEYS = frozenset({"nonce", "status", "value", "stdout", "error_type", "error_message"})
SERVICE_KEYS = frozenset({"nonce", "service", "method", "path", "params", "body"})  # a call asks, on its way
CODE_KEYS = frozenset({"nonce", "code"})  # of a source just compiled, on the way of its load
FROM_GUEST_KEYS = (REPLY_KEYS, SERVICE_KEYS, CODE_KEYS)

CONTAINERS = (dict, list)
CUT, CUT_DESCRIPTORS = int(socket.MSG_TRUNC), int(socket.MSG_CTRUNC)  # as enumerations they take a microsecond each
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # or a fork would share it
_rooms = threading.local()  # a buffer for each thread that receives
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class WireError(Exception):
    """The other side broke the protocol; its text says how."""


def writer(*, ensure_ascii: bool, allow_nan: bool = False) -> Callable[[Any], str]:
    """A function that writes a value as JSON without spaces. It raises TypeError for what is no JSON data, ValueError
    for NaN unless it is allowed, and RecursionError for what nests too deeply or holds itself.

    `JSONEncoder.encode` makes a new encoder of the C library's for each value, in as much time as a small one takes.
    """
    slow = json.JSONEncoder(ensure_ascii=ensure_ascii, check_circular=False, allow_nan=allow_nan, separators=(",", ":"))
    if encoder.c_make_encoder is None:
        return slow.encode
    text = encoder.encode_basestring_ascii if ensure_ascii else encoder.encode_basestring
    chunks = encoder.c_make_encoder(None, slow.default, text, None, ":", ",", False, False, allow_nan)
    return lambda value: "".join(chunks(value, 0))


as_ascii = writer(ensure_ascii=True)


def encode(frame: dict[str, Any], limit_bytes: int) -> bytes:
    """ASCII JSON. Raises WireError when it is longer than `limit_bytes` or not plain finite JSON data."""
    return _within(limit_bytes, _written(frame))


def encode_call(nonce: str, name: str, arguments: dict[str, Any], limit_bytes: int) -> bytes:
    """`encode` of a call (REQUEST_KEYS), put together here: of what makes a frame, the arguments alone are new."""
    named, given = _written(name, encoder.encode_basestring_ascii), _written(arguments)
    return _within(limit_bytes, f'{{"nonce":"{nonce}","op":"call","name":{named},"arguments":{given}}}')


def _written(value: Any, write: Callable[[Any], str] = as_ascii) -> str:
    try:
        return write(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(f"frame is not plain JSON data: {error}") from error


def _within(limit_bytes: int, text: str) -> bytes:
    if len(text) > limit_bytes:
        raise WireError(f"frame of {len(text)} bytes; the limit is {limit_bytes}")
    return text.encode("ascii")


def decode(payload: bytes, key_sets: tuple[frozenset[str], ...], limit_bytes: int) -> dict[str, Any]:
    """The frame in `payload`: one JSON object with exactly the keys of one of `key_sets`; anything else is a
    WireError."""
    if len(payload) > limit_bytes:
        raise WireError(f"frame of {len(payload)} bytes; the limit is {limit_bytes}")
    try:
        text = payload.decode("ascii")
        frame, end = _read(text)
    except (ValueError, RecursionError, MemoryError) as error:
        raise WireError(f"frame is not JSON: {type(error).__name__}") from error
    if end != len(text):
        raise WireError("frame is not JSON: there is more after it")
    if not isinstance(frame, dict) or frame.keys() not in key_sets:
        raise WireError(f"frame is not an object with the keys {' or '.join(map(_listed, key_sets))}")
    if text.count("[") + text.count("{") > MAX_DEPTH:
        check_depth(frame)
    return _without_surrogates(frame) if "\\u" in text and _SURROGATE.search(text) else frame


def check_depth(value: Any) -> None:
    """Raises WireError when arrays and objects nest deeper than MAX_DEPTH. Iterative: hostile input cannot recurse."""
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
        level = [item for item in below if isinstance(item, CONTAINERS)]
        if not level:
            return
    raise WireError(f"frame nests deeper than {MAX_DEPTH}")


def send(sock: socket.socket, payload: bytes) -> None:
    """One datagram, or the socket's own OSError when the other side will not take it."""
    if sock.send(payload) != len(payload):
        raise WireError("a datagram was sent in part")


def receive(sock: socket.SocketType, limit_bytes: int) -> bytes:
    """One datagram; b"" when the other side is gone. A longer one or one with descriptors attached is a WireError."""
    room = getattr(_rooms, "room", None)
    if room is None or len(room) < limit_bytes:
        room = _rooms.room = make_room(limit_bytes)
    size, _, flags, _ = sock.recvmsg_into([room if len(room) == limit_bytes else room[:limit_bytes]])
    if flags & CUT:
        raise WireError(f"frame is longer than {limit_bytes} bytes")
    if flags & CUT_DESCRIPTORS:
        raise WireError("frame came with descriptors attached")
    return bytes(room[:size])


def make_room(size: int) -> memoryview:
    """For datagrams, to be kept: to make one costs more than to fill it. A bytearray would touch all of it."""
    return memoryview(mmap.mmap(-1, size, PRIVATE))


def wait(sock: socket.socket, event: int, timeout_s: float) -> None:
    """Until `sock` can be read (select.POLLIN) or written (POLLOUT), or its other end is gone; TimeoutError else."""
    poll = select.poll()
    poll.register(sock, event)
    if not poll.poll(max(0.0, timeout_s) * 1000):
        raise TimeoutError(f"nothing within {timeout_s:g} s")


def is_quiet(sock: socket.socket, poll: select.poll) -> bool:
    """True when no frame waits on the non-blocking `sock`, whether its other end is there or gone.

    poll: with `sock` alone in it, for POLLIN. An empty datagram and the end of the connection both read as b""; only
    the end hangs up.
    """
    ready = poll.poll(0)
    if not ready:
        return True
    return bool(ready[0][1] & select.POLLHUP) and not sock.recv(1, socket.MSG_PEEK)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value - value != 0.0:
        raise ValueError("a number is out of range")
    return value


def _listed(keys: frozenset[str]) -> str:
    return ", ".join(sorted(keys))


# Made once: json.loads with options makes a new one at every call.
_read = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite).raw_decode


def _without_surrogates(value: Any) -> Any:
    """Lone surrogates cannot be written as UTF-8, tokenised or stored; each becomes U+FFFD. Pairs are kept."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value
