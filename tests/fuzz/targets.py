"""What is fuzzed: each target takes bytes and asserts what must hold whatever they are.

tests/fuzz/test_corpus.py plays the kept corpus through them in every run of the tests; tests/fuzz/explore.py looks
for new inputs, led by coverage.
"""

import json
import math
import socket
from typing import Any

from recall_env.dialect import DIALECTS
from recall_env.errors import EnvError
from recall_env.in_pieces import finish
from recall_env.sandbox import wire
from recall_env.sandbox.compiled import CompiledSources
from recall_env.sandbox.episode import SILENT, End, Episode
from recall_env.sandbox.limits import Limits
from recall_env.task import Task
from recall_env.tool_call import ToolResult

LIMIT = 1 << 16
SCHEMA = {"name": "f", "description": "f", "parameters": {"type": "object", "properties": {"x": {}}}}
TASK = Task("fuzz", "q", "def f(x=None): return x", (SCHEMA,), ("1",))
GUEST_STATUSES = {"ok", "tool_error", "out_of_memory", "unknown_tool", "output_truncated", "violation"}


def frames(data: bytes) -> None:
    """wire.decode: a frame of plain, finite, shallow, encodable data that encodes to itself, or WireError."""
    try:
        frame = wire.decode(data, wire.FROM_GUEST_KEYS, LIMIT)
    except wire.WireError:
        return
    check_plain(frame)
    wire.check_depth(frame)
    assert wire.decode(wire.encode(frame, 8 * LIMIT), wire.FROM_GUEST_KEYS, 8 * LIMIT) == frame


class DeadOrAlive:
    """A process that is killed when it is told to."""

    can_signal_itself = False

    def __init__(self) -> None:
        self.killed = False

    def kill(self) -> None:
        self.killed = True

    def wait_end(self, timeout_s: float) -> End | None:
        return None  # it lives on, with its connection shut

    def release(self) -> None:
        self.killed = True


def replies(data: bytes) -> None:
    """Episode: whatever a guest sends, in datagrams split at 0xFF, a call has one result, and a liar is killed.

    A NONCE in the data stands for the nonce of the call: what a guest knows.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = DeadOrAlive()
    episode = Episode(ours, process, Limits())
    try:
        assert episode.begin("f", {"x": 1}) is None
        nonce = json.loads(theirs.recv(LIMIT))["nonce"]
        for datagram in data.split(b"\xff")[:8]:
            theirs.send(datagram.replace(b"NONCE", nonce.encode()))
        theirs.close()
        outcome = episode.advance()
        result = episode.settle() if outcome is SILENT else outcome
        assert isinstance(result, ToolResult) and result.status in GUEST_STATUSES
        assert process.killed == (result.status in ("violation", "out_of_memory"))
        check_plain(result.value)
        assert len(result.stdout) <= Limits().output_bytes
        if process.killed:
            assert episode.begin("f", {}).status == result.status
    finally:
        theirs.close()
        episode.close()


def loads(data: bytes) -> None:
    """Episode: whatever a guest sends while its source loads, the source stands or does not; of its code only what came
    first is kept, and none is read.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process, compiled = DeadOrAlive(), CompiledSources()
    episode = Episode(ours, process, Limits(), None, compiled)
    try:
        episode.begin_load(TASK.source, None, "stateful")
        nonce = json.loads(theirs.recv(LIMIT))["nonce"]
        sent = [datagram.replace(b"NONCE", nonce.encode()) for datagram in data.split(b"\xff")[:8]]
        for datagram in sent:
            theirs.send(datagram)
        theirs.close()
        try:
            finish(episode.load_in_pieces())
        except EnvError:
            stands = False
        else:
            stands = True
        assert not (stands and process.killed)
        code = compiled.get(TASK.source)
        if code is not None:
            assert code and code == wire.decode(sent[0], (wire.CODE_KEYS,), LIMIT)["code"]
    finally:
        theirs.close()
        episode.close()


def turns(data: bytes) -> None:
    """Dialects: any text is a turn, its calls are plain data or say what is wrong, and what is rendered is text."""
    text = data.decode("utf-8", "replace")
    for name, dialect in DIALECTS.items():
        turn = dialect.parse(text, None)
        results = []
        for call in turn.calls:
            assert isinstance(call.name, str) and isinstance(call.arguments, dict), name
            json.dumps(call.arguments)
            results.append((call, ToolResult("ok", value=call.raw[:1000], stdout=text[:1000])))
        assert turn.answer is None or isinstance(turn.answer, str), name
        if results:
            messages = dialect.render(results)
            dialect.observation(messages).encode()  # no lone surrogate
            assert all(message["content"].count("<|im_start|>") == 0 for message in messages), name


def check_plain(value: Any) -> None:
    """Only what JSON has; text that can be written as UTF-8; numbers that are some."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            item.encode()
        elif isinstance(item, float):
            assert math.isfinite(item)
        elif isinstance(item, dict):
            todo += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            todo += item
        else:
            assert item is None or isinstance(item, bool | int)


TARGETS = {"frames": frames, "replies": replies, "loads": loads, "turns": turns}
