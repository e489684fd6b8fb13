"""Episode: the host's side of one live episode. It asks, keeps the time, and decides what a reply is worth.

The same for jailed and unjailed tools; where the process comes from is pool.py's and unsafe.py's. Of a status only
"ok or not" is the guest's word; a timeout is the host's clock, a death is the kernel's wait status, and anything odd
on the wire is a violation that ends the episode, so that no stale frame can reach a later call.
"""

import errno
import json
import os
import select
import signal
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any, Protocol

from recall_env.errors import EnvError, SandboxFailure
from recall_env.sandbox import wire
from recall_env.sandbox.limits import Limits
from recall_env.sandbox.session import Mode
from recall_env.tool_call import Status, ToolResult

DEATH_WAIT_S = 10.0  # between a socket's end and the word of its process's death
SEND_OVERHEAD_BYTES = 1024  # what the kernel wants beside the frame itself
REPLY_STATUSES = frozenset({"ok", "tool_error", "out_of_memory", "unknown_tool", "output_truncated"})
GONE: tuple[Status, ...] = ("timeout", "out_of_memory", "violation")


@dataclass(frozen=True)
class End:
    """How an episode's process ended. lost: with its jail, so that nobody can say; then it is the jail's last words."""

    wait_status: int = 0
    cpu_s: float = 0.0
    lost: str | None = None


class Process(Protocol):
    """What an Episode needs of the process that runs its tools."""

    def kill(self) -> None:
        """SIGKILL; harmless when it is dead already."""

    def wait_end(self, timeout_s: float) -> End | None:
        """How it ended, or None when it is still alive after `timeout_s`."""

    def release(self) -> None:
        """Kill it and give back what the host holds of it. Twice is harmless."""


class Episode:
    """A Session over one socket and one process. Used by one thread at a time."""

    def __init__(self, sock: socket.socket, process: Process, limits: Limits) -> None:
        self._sock = sock
        self._process = process
        self._limits = limits
        self._gone: ToolResult | None = None  # set once the interpreter is dead
        self._lost: str | None = None  # set once our side broke
        self._closed = False
        self._close_once = threading.Lock()
        sock.setblocking(False)

    def load(self, source: str, state: Any, mode: Mode) -> None:
        """Send the source and wait until it stands; EnvError when it does not, SandboxFailure when we fail."""
        document = {"source": source, "state": state, "mode": mode}
        try:
            text = json.dumps(document, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise EnvError(f"initial state: expected JSON data: {error}") from error
        if len(text) > self._limits.load_bytes:
            raise EnvError(
                f"tool source and initial state: {len(text)} bytes; the limit is {self._limits.load_bytes} (load_bytes)"
            )
        nonce = wire.new_nonce()
        deadline = time.monotonic() + self._limits.load_timeout_s
        chunk = min(wire.CHUNK_CHARS, self._limits.frame_bytes // 2 - 256)  # escaped once more, a frame may double
        try:
            for start in range(0, len(text), chunk):
                more = start + chunk < len(text)
                request = {"nonce": nonce, "op": "load", "text": text[start : start + chunk], "more": more}
                wire.wait(self._sock, select.POLLOUT, deadline - time.monotonic())
                wire.send(self._sock, wire.encode(request, self._limits.frame_bytes))
            result = self._reply(nonce, deadline, self._limits.load_timeout_s)
        except OSError:
            result = self._no_reply(self._limits.load_timeout_s, time.monotonic() >= deadline)
        if result.status not in ("ok", "output_truncated"):
            kind = f"{result.error_type}: " if result.error_type else f"{result.status}: "
            raise EnvError(f"tool source does not load: {kind}{result.error_message}")

    def call(self, name: str, arguments: dict[str, Any]) -> ToolResult:
        if self._closed:
            raise SandboxFailure("this session is closed; open another one")
        if self._lost is not None:
            raise SandboxFailure(self._lost)
        if self._gone is not None:
            return self._gone
        timeout_s, nonce = self._limits.call_timeout_s, wire.new_nonce()
        deadline = time.monotonic() + timeout_s
        try:
            request = {"nonce": nonce, "op": "call", "name": name, "arguments": arguments}
            payload = wire.encode(request, self._limits.frame_bytes)
        except wire.WireError as error:
            return ToolResult("invalid_arguments", error_type="ValueError", error_message=f"the arguments: {error}")
        try:
            if not wire.is_quiet(self._sock):
                return self._violation("it sent a message that nobody asked for")
            wire.send(self._sock, payload)
            return self._reply(nonce, deadline, timeout_s)
        except BlockingIOError:
            return self._violation("it does not read its connection")
        except (OSError, ValueError):  # ValueError: another thread closed the socket
            return self._no_reply(timeout_s, time.monotonic() >= deadline)

    def close(self) -> None:
        if self._close_once.acquire(blocking=False):  # a pool may close what its owner is closing just now
            self._closed = True
            self._release()

    def abandon(self) -> None:
        """In a forked child: let go of our copy of the socket, and leave the parent's processes alone."""
        self._close_once.acquire(blocking=False)
        self._closed = True
        self._sock.close()

    def _release(self) -> None:
        self._process.release()
        self._sock.close()

    def _reply(self, nonce: str, deadline: float, timeout_s: float) -> ToolResult:
        try:
            wire.wait(self._sock, select.POLLIN, deadline - time.monotonic())
            payload = wire.receive(self._sock, self._limits.frame_bytes)
            if not payload:
                return self._no_reply(timeout_s, time.monotonic() >= deadline)
            frame = wire.decode(payload, wire.REPLY_KEYS, self._limits.frame_bytes)
            result = self._believe(frame, len(payload), nonce)
        except wire.WireError as error:
            return self._violation(str(error))
        if not wire.is_quiet(self._sock):
            return self._violation("it answered one call twice")
        if result.status == "out_of_memory":
            return self._end("out_of_memory", "the tool ran out of memory")
        return result

    def _believe(self, frame: dict[str, Any], size: int, nonce: str) -> ToolResult:
        """The frame as a result; WireError for whatever the guest's own code would not have sent."""
        limit = self._limits.output_bytes
        if frame["nonce"] != nonce:
            raise wire.WireError("a reply to another call")
        if not isinstance(frame["status"], str) or frame["status"] not in REPLY_STATUSES:
            raise wire.WireError("a reply with a status that is not the guest's to give")
        value, stdout = frame["value"], frame["stdout"]
        for text, chars in ((stdout, limit), (frame["error_type"], 100), (frame["error_message"], 2000)):
            if not isinstance(text, str | None) or len(text or "") > chars:
                raise wire.WireError("a reply with a text that is none, or beyond its limit")
        if len(value) > limit if isinstance(value, str) else size > limit and _json_chars(value) > limit:
            raise wire.WireError("a reply with a value beyond its limit")
        return ToolResult(frame["status"], value, stdout or "", frame["error_type"], frame["error_message"])

    def _no_reply(self, timeout_s: float, late: bool) -> ToolResult:
        """The wire is silent or shut: a timeout, or a death whose cause the kernel knows."""
        if self._closed:
            raise SandboxFailure("this session was closed during a call")
        if late:
            return self._end("timeout", f"the call took longer than {timeout_s:g} s and was stopped")
        end = self._process.wait_end(DEATH_WAIT_S)
        if end is None:
            return self._violation("it closed its connection")
        if end.lost is not None:
            self._lost = f"the jail of this episode died under it ({end.lost})"
            raise SandboxFailure(self._lost)
        if not os.WIFSIGNALED(end.wait_status):
            if os.waitstatus_to_exitcode(end.wait_status) == errno.ENOMEM:  # guest.run_to_end
                return self._end("out_of_memory", "the tools used more memory than there is")
            return self._violation(f"its interpreter exited (code {os.waitstatus_to_exitcode(end.wait_status)})")
        number = os.WTERMSIG(end.wait_status)
        if number == signal.SIGSYS:
            return self._violation("it made a forbidden system call")
        if number in (signal.SIGKILL, signal.SIGXCPU):
            if end.cpu_s >= self._limits.cpu_s - 1:
                return self._end("timeout", f"the tools used up their {self._limits.cpu_s} s of processor time")
            return self._end("out_of_memory", "the tools used more memory than there is")
        return self._violation(f"its interpreter crashed ({_signal_name(number)})")

    def _violation(self, what: str) -> ToolResult:
        return self._end("violation", f"the tools were stopped: {what}")

    def _end(self, status: Status, message: str) -> ToolResult:
        self._process.kill()
        self._gone = ToolResult(status, error_message=f"an earlier call ended the tools of this episode: {message}")
        return ToolResult(status, error_message=message)


def _signal_name(number: int) -> str:
    """Real-time signals, which a tool may send itself, have no name."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def wire_pair(limits: Limits) -> tuple[socket.socket, socket.socket]:
    """The host's and the guest's end of an episode's socket, with room for one frame of the largest size."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for sock in pair:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.frame_bytes)
        room = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        if room < limits.frame_bytes + SEND_OVERHEAD_BYTES:
            for each in pair:
                each.close()
            raise SandboxFailure(
                f"limits: frame_bytes: this machine carries {room - SEND_OVERHEAD_BYTES} at most, got "
                f"{limits.frame_bytes}; lower it, or raise net.core.wmem_max"
            )
    return pair


def _json_chars(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":")))
