"""Episode: the host's side of one live episode. It asks, keeps the time, and decides what a reply is worth.

The same for jailed and unjailed tools; where the process comes from is pool.py's and unsafe.py's. Of a status only
"ok or not" is the guest's word; a timeout is the host's clock, a death is the kernel's wait status, and anything odd
on the wire is a violation that ends the episode, so that no stale frame can reach a later call.

A call is `begin`, then `advance` whenever the socket can be read, until a result comes of it. `call_in_pieces` puts
these together and `call` waits in between; an event loop drives `begin` and `advance` themselves (aio.py).
"""

import contextlib
import errno
import json
import os
import select
import signal
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from recall_env.errors import EnvError, SandboxFailure
from recall_env.in_pieces import SLOW, Pieces, finish
from recall_env.sandbox import wire
from recall_env.sandbox.broker import Channel, ServiceReply, ServiceRequest
from recall_env.sandbox.compiled import CompiledSources
from recall_env.sandbox.limits import Limits
from recall_env.sandbox.session import Mode
from recall_env.tool_call import Status, ToolResult

DEATH_WAIT_S = 10.0  # between a socket's end and the word of its process's death
NONCE_BYTES, NONCES = 8, 256  # of one; drawn at once, for to ask the kernel for each takes as long as to write a call
SEND_OVERHEAD_BYTES = 1024  # what the kernel wants beside the frame itself
_nonces: list[str] = []  # not yet used
REPLY_STATUSES = frozenset({"ok", "tool_error", "out_of_memory", "unknown_tool", "output_truncated"})


@dataclass(frozen=True)
class End:
    """How an episode's process ended. lost: by our fault, and why."""

    wait_status: int = 0
    cpu_s: float = 0.0
    lost: str | None = None


class Process(Protocol):
    """What an Episode needs of the process that runs its tools."""

    can_signal_itself: bool  # a SIGKILL may be its own doing; the first process of a pid namespace ignores such

    def kill(self) -> None:
        """SIGKILL; harmless when it is dead already."""

    def wait_end(self, timeout_s: float) -> End | None:
        """How it ended, or None when it is still alive after `timeout_s`."""

    def release(self) -> None:
        """Kill it and give back what the host holds of it. Twice is harmless."""


class Silent:
    """The wire is shut. `Episode.settle` says what that means, and may have to wait for the word of a death."""


SILENT = Silent()
Outcome = ToolResult | ServiceRequest | Silent | None  # of one look at the wire; None: nothing yet


class Episode:
    """A Session over one socket and one process. Used by one thread at a time."""

    def __init__(
        self,
        sock: socket.socket,
        process: Process,
        limits: Limits,
        services: Channel | None = None,
        compiled: CompiledSources | None = None,
    ) -> None:
        self._sock = sock
        self._process = process
        self._limits = limits
        self._services = services
        self._compiled = compiled
        self._uncompiled: str | None = None  # the source whose code the guest is to send before anything else
        self._gone: ToolResult | None = None  # set once the interpreter is dead
        self._lost: str | None = None  # set once our side broke
        self._closed = False
        self._close_once = threading.Lock()
        self._nonce = ""  # of the request under way
        self.deadline = self._timeout_s = 0.0  # of the request under way, on the monotonic clock
        self._unsent: deque[bytes] = deque()  # of the source
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        sock.setblocking(False)

    def begin_load(self, source: str, state: Any, mode: Mode) -> None:
        """Send what fits of the source; EnvError when it is too long or its state no JSON. Never waits."""
        code = None if self._compiled is None else self._compiled.get(source)
        self._uncompiled = None if self._compiled is None or code is not None else source
        document = {
            "source": source,
            "code": code,
            "send_code": self._uncompiled is not None,
            "state": state,
            "mode": mode,
            "services": list(self._services.names) if self._services else [],
        }
        try:
            text = json.dumps(document, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise EnvError(f"initial state: expected JSON data: {error}") from error
        limits = self._limits
        size = len(text) - len(code or "")
        if size > limits.load_bytes:
            raise EnvError(
                f"tool source and initial state: {size} bytes; the limit is {limits.load_bytes} (load_bytes)"
            )
        self._start_clock(limits.load_timeout_s)
        chunk = min(wire.CHUNK_CHARS, limits.frame_bytes // 2 - 256)  # escaped once more, a frame may double
        for start in range(0, len(text), chunk):
            more = start + chunk < len(text)
            request = {"nonce": self._nonce, "op": "load", "text": text[start : start + chunk], "more": more}
            self._unsent.append(wire.encode(request, limits.frame_bytes))
        with contextlib.suppress(OSError):  # load_in_pieces finds out what has become of the other side
            self._send_unsent()

    def load_in_pieces(self) -> Pieces[None]:
        """Wait until the source stands; EnvError when it does not, SandboxFailure when we fail."""
        self.deadline = time.monotonic() + self._timeout_s
        try:
            while self._unsent:
                yield from self._slow()
                wire.wait(self._sock, select.POLLOUT, self.remaining_s)
                self._send_unsent()
        except OSError:
            outcome: Outcome = SILENT
        else:
            outcome = None
        result = yield from self._result(outcome)
        self._uncompiled = None
        if result.status not in ("ok", "output_truncated"):
            kind = f"{result.error_type}: " if result.error_type else f"{result.status}: "
            raise EnvError(f"tool source does not load: {kind}{result.error_message}")

    def call(self, name: str, arguments: dict[str, Any], timeout_s: float | None = None) -> ToolResult:
        return finish(self.call_in_pieces(name, arguments, timeout_s))

    def call_in_pieces(
        self, name: str, arguments: dict[str, Any], timeout_s: float | None = None
    ) -> Pieces[ToolResult]:
        return self._result(self.begin(name, arguments, timeout_s))

    def begin(self, name: str, arguments: dict[str, Any], timeout_s: float | None = None) -> Outcome:
        """Send a call; its result at once when it cannot even be sent, SILENT when nobody reads. Never waits.

        timeout_s: less than the limit's, for this call. Raises SandboxFailure when the fault is ours.
        """
        if self._closed:
            raise SandboxFailure("this session is closed; open another one")
        if self._lost is not None:
            raise SandboxFailure(self._lost)
        if self._gone is not None:
            return self._gone
        limit_s = self._limits.call_timeout_s
        self._start_clock(limit_s if timeout_s is None else min(timeout_s, limit_s))
        if self._services is not None:
            self._services.begin_call()
        try:
            payload = wire.encode_call(self._nonce, name, arguments, self._limits.frame_bytes)
        except wire.WireError as error:
            return ToolResult("invalid_arguments", error_type="ValueError", error_message=f"the arguments: {error}")
        try:
            wire.send(self._sock, payload)
        except BlockingIOError:
            return self._violation("it does not read its connection")
        except (OSError, ValueError):  # ValueError: another thread closed the socket
            return SILENT
        return None

    def advance(self) -> Outcome:
        """Read what has come. None: nothing is there, wait on `fileno` for `remaining_s`. A ServiceRequest wants
        `answer`, SILENT wants `settle`. Never waits."""
        try:
            frame: dict[str, Any] = {}
            while not frame or "code" in frame:
                if frame:
                    self._believe_code(frame)
                payload = wire.receive(self._sock, self._limits.frame_bytes)
                if not payload:
                    return SILENT
                frame = wire.decode(payload, wire.FROM_GUEST_KEYS, self._limits.frame_bytes)
            if "service" in frame:
                return self._believe_request(frame)
            result = self._believe(frame, len(payload))
            if not wire.is_quiet(self._sock, self._poll):
                raise wire.WireError("it answered one call twice")
        except BlockingIOError:
            if time.monotonic() < self.deadline or self._more_time():
                return None
            return self._timed_out()
        except wire.WireError as error:
            return self._violation(str(error))
        except (OSError, ValueError):  # ValueError: another thread closed the socket
            return SILENT
        if result.status == "out_of_memory":
            return self._end("out_of_memory", "the tool ran out of memory")
        return result

    def answer(self, reply: ServiceReply) -> Outcome:
        """Send what a service said; None when it is sent. The time it took is not the tool's."""
        self.deadline += reply.waited_s
        frame_bytes = self._limits.frame_bytes
        try:
            payload = wire.encode({"nonce": self._nonce, **reply.frame}, frame_bytes)
        except wire.WireError:  # a short text may be a long one as JSON
            refusal = ServiceReply.refusal(f"the service's answer does not fit into {frame_bytes} bytes of JSON")
            payload = wire.encode({"nonce": self._nonce, **refusal.frame}, frame_bytes)
        try:
            wire.send(self._sock, payload)
        except BlockingIOError:
            return self._violation("it does not read its connection")
        except (OSError, ValueError):
            return SILENT
        return None

    def settle(self) -> ToolResult:
        """What a shut wire means: a timeout, or a death whose cause the kernel knows. May wait for its word."""
        if self._closed:
            raise SandboxFailure("this session was closed during a call")
        if time.monotonic() >= self.deadline:
            return self._timed_out()
        end = self._process.wait_end(DEATH_WAIT_S)
        if end is None:
            return self._violation("it closed its connection")
        if end.lost is not None:
            self._lost = f"this episode is lost: {end.lost}"
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
            if self._process.can_signal_itself:
                return self._violation("its interpreter was killed")
            # Its own memory is bounded by an rlimit, which does not kill: this was the bound of all, or a person.
            self._lost = "the episode was killed from outside, as the kernel does when all of them need too much memory"
            raise SandboxFailure(self._lost)
        return self._violation(f"its interpreter crashed ({_signal_name(number)})")

    @property
    def remaining_s(self) -> float:
        """Until the request under way is late."""
        return self.deadline - time.monotonic()

    def fileno(self) -> int:
        return self._sock.fileno()

    def wait(self) -> None:
        """Until something has come, or the request under way is late."""
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile: `advance` finds that out
            self._poll.poll(max(0.0, self.remaining_s) * 1000)

    @property
    def alive(self) -> bool:
        """Whether another call may reach the tools, as far as is known."""
        return not (self._closed or self._lost or self._gone)

    def close(self) -> None:
        if self._close_once.acquire(blocking=False):  # a pool may close what its owner is closing just now
            self._closed = True
            self._release()

    def abandon(self) -> None:
        """In a forked child: let go of our copy of the socket, and leave the parent's processes alone."""
        self._close_once.acquire(blocking=False)
        self._closed = True
        self._sock.close()

    def forward(self, request: ServiceRequest) -> ServiceReply:
        """Ask the service and wait for it. Raises SandboxFailure, and ends the episode, when the service is down."""
        try:
            return self._services.forward(request)
        except SandboxFailure as failure:
            self._lost = str(failure)
            self._process.kill()
            raise

    def _release(self) -> None:
        self._process.release()
        self._sock.close()

    def _send_unsent(self) -> None:
        while self._unsent:
            try:
                wire.send(self._sock, self._unsent[0])
            except BlockingIOError:
                return
            self._unsent.popleft()

    def _more_time(self) -> bool:
        """Whether the deadline that has passed was too early, and has been moved."""
        return False

    def _start_clock(self, timeout_s: float) -> None:
        self._nonce = _nonce()
        self._timeout_s = timeout_s
        self.deadline = time.monotonic() + timeout_s

    def _result(self, outcome: Outcome) -> Pieces[ToolResult]:
        """outcome: of what was sent just now."""
        while not isinstance(outcome, ToolResult):
            if outcome is None:
                yield self
                outcome = self.advance()
            else:
                yield from self._slow()
                outcome = self.settle() if outcome is SILENT else self.answer(self.forward(outcome))
        return outcome

    def _slow(self) -> Pieces[None]:
        """Until a thread is there for what comes next. That wait is not the tool's."""
        asked = time.monotonic()
        yield SLOW
        self.deadline += time.monotonic() - asked

    def _believe(self, frame: dict[str, Any], size: int) -> ToolResult:
        """The frame as a result; WireError for whatever the guest's own code would not have sent."""
        limit = self._limits.output_bytes
        if frame["nonce"] != self._nonce:
            raise wire.WireError("a reply to another call")
        if not isinstance(frame["status"], str) or frame["status"] not in REPLY_STATUSES:
            raise wire.WireError("a reply with a status that is not the guest's to give")
        value, stdout, kind, message = frame["value"], frame["stdout"], frame["error_type"], frame["error_message"]
        if stdout != "" or kind is not None or message is not None:
            for text, chars in ((stdout, limit), (kind, 100), (message, 2000)):
                if text is not None and (type(text) is not str or len(text) > chars):
                    raise wire.WireError("a reply with a text that is none, or beyond its limit")
        if len(value) > limit if isinstance(value, str) else size > limit and _json_chars(value) > limit:
            raise wire.WireError("a reply with a value beyond its limit")
        return ToolResult(frame["status"], value, stdout or "", kind, message)

    def _believe_request(self, frame: dict[str, Any]) -> ServiceRequest:
        if frame["nonce"] != self._nonce:
            raise wire.WireError("a request to a service outside of a call")
        if self._services is None:
            raise wire.WireError("a request to a service, though it was given none")
        return ServiceRequest.from_frame(frame)

    def _believe_code(self, frame: dict[str, Any]) -> None:
        """The guest sends it before it runs the source, so a second one, or one later, is not the guest's."""
        if frame["nonce"] != self._nonce or self._uncompiled is None:
            raise wire.WireError("compiled code that nobody asked for")
        if not isinstance(frame["code"], str):
            raise wire.WireError("compiled code that is no text")
        if frame["code"]:  # none when it does not fit into a frame
            self._compiled.put(self._uncompiled, frame["code"])
        self._uncompiled = None

    def _timed_out(self) -> ToolResult:
        return self._end("timeout", f"the call took longer than {self._timeout_s:g} s and was stopped")

    def _violation(self, what: str) -> ToolResult:
        return self._end("violation", f"the tools were stopped: {what}")

    def _end(self, status: Status, message: str) -> ToolResult:
        self._process.kill()
        self._gone = ToolResult(status, error_message=f"an earlier call ended the tools of this episode: {message}")
        return ToolResult(status, error_message=message)


def _nonce() -> str:
    """What no guest can guess. Any thread may ask; a forked child's episodes may get what its parent's do."""
    while True:
        try:
            return _nonces.pop()
        except IndexError:
            text, chars = os.urandom(NONCES * NONCE_BYTES).hex(), 2 * NONCE_BYTES
            _nonces.extend(text[at : at + chars] for at in range(0, len(text), chars))


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
