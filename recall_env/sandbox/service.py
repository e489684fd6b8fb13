"""The ASGI application of `recall-env serve`: ReCall's `/execute`, and sessions that are opened, called and closed.

A raw ASGI application: no framework stands between the socket and the jail. It never queues: what cannot start now is
refused with a status and Retry-After. Running it (socket, signals, draining) is service_http.py's. docs/serve.md
tells the same to whoever calls it.
"""

import asyncio
import hmac
import json
import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from recall_env.errors import EnvError, RecallError, SandboxFailure
from recall_env.sandbox import execute
from recall_env.sandbox.aio import AsyncSession
from recall_env.sandbox.broker import Broker
from recall_env.sandbox.limits import CEILING, MIB, Limits
from recall_env.sandbox.service_metrics import CONTENT_TYPE, ServiceMetrics
from recall_env.sandbox.service_requests import (
    CALL_KEYS,
    OPEN_KEYS,
    Gone,
    OpenRequest,
    Refusal,
    Refuse,
    invalid,
    object_of,
    seconds,
    text,
)
from recall_env.sandbox.session import Pool
from recall_env.tool_call import ToolResult

JSON = b"application/json"
TOKEN_CHARS = 1024
SPARE_THREADS = 8  # beside one for each call that may be in flight
SHORTEST_S = 0.05  # what a call is left with when opening took all of its time

log = logging.getLogger("recall_env.serve")


@dataclass(frozen=True)
class ServiceConfig:
    """Bounds of one service, all together; what one session may use is Limits'."""

    max_sessions: int = 256  # of the session API, open at once
    max_warm: int = 128  # idle interpreters kept for /execute
    max_in_flight: int = 128  # calls and opens under way; one more is refused
    max_body_bytes: int = 1 * MIB
    max_timeout_s: float = 60.0  # the most that a request's `timeout` may ask for
    idle_timeout_s: float = 600.0  # a session nobody called for so long is closed
    isolation: str = "source"  # /execute: an interpreter per source and token, or ("call") one for each call


@dataclass(eq=False)
class OpenSession:
    """One session of the session API. tenant: the token that opened it."""

    tenant: str
    session: AsyncSession
    refuse: Refuse
    busy: bool = False
    used_at: float = field(default_factory=time.monotonic)


class Service:
    """The application. Belongs to one event loop; `pool` stays the caller's to close."""

    def __init__(
        self,
        pool: Pool,
        config: ServiceConfig | None = None,
        *,
        tokens: tuple[str, ...] = (),
        broker: Broker | None = None,
        rung: str = "",
        ceiling: Limits = CEILING,
    ) -> None:
        """tokens: whoever calls must have one of them; without any, everybody may call, and a bearer token only says
        who shares interpreters with whom. rung: what the jails stand on, for /health."""
        self.config = config or ServiceConfig()
        self.pool, self.broker, self.rung, self.ceiling = pool, broker or Broker({}), rung, ceiling
        self.sessions: dict[str, OpenSession] = {}
        self.warm = execute.WarmSessions(self.config.max_warm)
        self.in_flight = 0
        self._working: set[execute.Warm] = set()
        self.opening = 0  # sessions that will count once they are open
        self.draining = False
        self.metrics = ServiceMetrics(self)
        self._tokens = tuple(token.encode() for token in tokens)
        self._limits = replace(  # of /execute, where the interpreter outlives the call
            Limits(), call_timeout_s=min(self.config.max_timeout_s, ceiling.call_timeout_s), cpu_s=ceiling.cpu_s
        )
        threads = self.config.max_in_flight + SPARE_THREADS
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="recall-serve")

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path, close = scope["path"], False
        try:
            if path == "/execute":
                route, status, kind = "execute", 200, JSON
                body = await self._admit(scope, receive, self._execute)
            else:
                route, status, kind, body = await self._other(scope, receive, path)
            extra: tuple[tuple[bytes, bytes], ...] = ()
        except Gone:
            return
        except Refusal as refusal:
            route, status, kind = _route(path), refusal.status, JSON
            body = execute.encode("", None, str(refusal)) if path == "/execute" else refusal.body()
            extra, close = refusal.headers, refusal.close
            self.metrics.refused(refusal.reason)
        except Exception:
            log.exception("%s %s", scope["method"], path)
            refusal = Refusal(500, "internal", "an error of this service; its log has it")
            route, status, kind, extra = _route(path), 500, JSON, ()
            body = execute.encode("", None, str(refusal)) if path == "/execute" else refusal.body()
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *extra] if body else []
        if close or self.draining:
            headers.append((b"connection", b"close"))
        self.metrics.answered(route, status)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def sweep(self) -> None:
        """Close sessions that nobody has called for long. To be called every now and then."""
        oldest = time.monotonic() - self.config.idle_timeout_s
        self.warm.expire(oldest)
        for name, held in list(self.sessions.items()):
            if not held.busy and held.used_at < oldest:
                del self.sessions[name]
                held.session.close()

    def close(self) -> None:
        """End all sessions, those in mid-call too: their calls become sandbox failures. The pool stays."""
        self.draining = True
        self.warm.close()
        for warm in self._working:
            warm.session.close()
        for held in self.sessions.values():
            held.session.close()
        self.sessions.clear()

    def join(self) -> None:
        """Wait for the threads; after the pool was closed there is nothing that could keep them."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _other(self, scope: dict[str, Any], receive: Any, path: str) -> tuple[str, int, bytes, bytes]:
        method = scope["method"]
        if path == "/health":
            _only(method, "GET", "HEAD")
            state = "draining" if self.draining else "ok"
            health = {"status": state, "rung": self.rung, "sessions": len(self.sessions), "in_flight": self.in_flight}
            return "health", 503 if self.draining else 200, JSON, json.dumps(health).encode()
        if path == "/metrics":
            _only(method, "GET", "HEAD")
            self._tenant(scope)
            return "metrics", 200, CONTENT_TYPE, self.metrics.text()
        if path == "/sessions":
            _only(method, "POST")
            return "sessions", 201, JSON, await self._admit(scope, receive, self._open)
        parts = path.split("/")
        if len(parts) == 4 and parts[1] == "sessions" and parts[3] == "call":
            _only(method, "POST")
            return "call", 200, JSON, await self._admit(scope, receive, self._call, parts[2])
        if len(parts) == 3 and parts[1] == "sessions":
            _only(method, "DELETE")
            self._close(self._tenant(scope), parts[2])
            return "close", 204, JSON, b""
        raise Refusal(404, "not_found", f"there is no {path[:100]}; there are /execute, /sessions, /health, /metrics")

    async def _admit(self, scope: dict[str, Any], receive: Any, work: Any, *arguments: str) -> bytes:
        """`work(tenant, request body, ...)` for somebody who may ask, when there is room for it now."""
        tenant = self._tenant(scope)
        if scope["method"] != "POST":
            raise Refusal(405, "method_not_allowed", "expected POST", (b"allow", b"POST"))
        if self.draining:
            raise Refusal(503, "draining", "this service is about to stop", retry_after_s=5)
        limit = self.config.max_body_bytes
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > limit:  # the parser lets nothing but digits through
                raise too_large(limit)
            if name == b"origin":  # a page in somebody's browser, which reaches loopback too
                raise Refusal(403, "forbidden", "requests of web pages are not served")
        if self.in_flight >= self.config.max_in_flight:
            raise Refusal(
                429, "too_many_in_flight", f"{self.in_flight} calls are in flight; this is the limit", retry_after_s=1
            )
        self.in_flight += 1
        try:
            message = await receive()
            body = message.get("body")
            if body is None or message.get("more_body"):
                body = await _rest(message, receive, limit)
            if len(body) > limit:
                raise too_large(limit)
            return await work(tenant, body, *arguments)
        finally:
            self.in_flight -= 1

    def _tenant(self, scope: dict[str, Any]) -> str:
        """The caller's token, "" for none. Raises Refusal when tokens are wanted and this is none of them."""
        given = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                kind, _, given = value.partition(b" ")
                given = given.strip() if kind.lower() == b"bearer" else b""
        if self._tokens and not sum(hmac.compare_digest(given, token) for token in self._tokens):
            why = "this is not a token of this service" if given else "send `Authorization: Bearer TOKEN`"
            raise Refusal(401, "unauthorized", why, (b"www-authenticate", b"Bearer"))
        if len(given) > TOKEN_CHARS:
            raise Refusal(400, "bad_request", f"a token has {TOKEN_CHARS} characters at most")
        return given.decode("latin-1")

    async def _execute(self, tenant: str, body: bytes) -> bytes:
        began = time.monotonic()
        fields = object_of(body)
        source, call = text(fields, "env"), text(fields, "call")
        timeout_s = min(seconds(fields, "timeout", 5.0), self._limits.call_timeout_s)
        try:
            name, arguments = execute.parse_call(call, source)
        except execute.CallError as error:
            self.metrics.called("execute", "parse_error", time.monotonic() - began)
            return execute.encode("", None, str(error))
        try:
            result = await self._play((tenant, source), name, arguments, timeout_s, began)
        except EnvError as error:
            result = ToolResult("tool_error", error_message=str(error))
        except SandboxFailure as failure:
            raise _failed(failure) from failure
        if result.status == "unknown_tool":
            result = replace(result, error_message=f"name {name[:200]!r} is not defined")
        self.metrics.called("execute", result.status, time.monotonic() - began)
        return execute.response(result, timeout_s)

    async def _play(
        self, key: tuple[str, str], name: str, arguments: dict[str, Any], timeout_s: float, began: float
    ) -> ToolResult:
        """A call in a warm interpreter, or in a new one when none is idle or the warm one turns out to be lost."""
        warm = self.warm.take(key)
        if warm is not None:
            try:
                return await self._use(warm, name, arguments, timeout_s)
            except SandboxFailure:
                if self.draining or (
                    warm.channel is not None and warm.channel.asked
                ):  # a service that is down stays so
                    raise
        warm = await self._warm_up(key, timeout_s)
        return await self._use(warm, name, arguments, max(SHORTEST_S, timeout_s - (time.monotonic() - began)))

    async def _use(self, warm: execute.Warm, name: str, arguments: dict[str, Any], timeout_s: float) -> ToolResult:
        began = time.monotonic()
        self._working.add(warm)
        if warm.channel is not None:
            warm.channel.asked = 0  # its limit is on an episode's requests, and here every call is one
        try:
            return await warm.session.call(name, arguments, timeout_s)
        finally:
            self._working.discard(warm)
            warm.calls += 1
            warm.used_at = time.monotonic()
            warm.busy_s += warm.used_at - began
            self.warm.put(warm)

    async def _warm_up(self, key: tuple[str, str], timeout_s: float) -> execute.Warm:
        source, names = execute.with_services(key[1], self.broker.addresses)
        channel = self.broker.channel(names) if names else None
        limits = replace(self._limits, load_timeout_s=timeout_s)
        mode = "process" if self.config.isolation == "call" else "fresh"
        seed = secrets.randbits(31)  # ReCall's tools had chance of their own each time
        session = await self._in_thread(
            lambda: self.pool.open(source, seed=seed, limits=limits, mode=mode, services=channel)
        )
        return execute.Warm(key, AsyncSession(session, self._threads), channel)

    async def _open(self, tenant: str, body: bytes) -> bytes:
        if len(self.sessions) + self.opening >= self.config.max_sessions:
            raise Refusal(
                429, "too_many_sessions", f"{self.config.max_sessions} sessions are open; close one", retry_after_s=1
            )
        request = OpenRequest.read(object_of(body, OPEN_KEYS), self.ceiling)
        source, names = request.source, request.services
        if names is None:
            source, names = execute.with_services(source, self.broker.addresses)
        try:
            channel = self.broker.channel(names) if names else None
        except RecallError as error:
            raise invalid(f"services: {error}") from error
        self.opening += 1
        try:
            session = await self._in_thread(
                lambda: self.pool.open(
                    source,
                    state=request.state,
                    seed=request.seed,
                    limits=request.limits,
                    mode=request.mode,
                    services=channel,
                )
            )
        except EnvError as error:
            raise Refusal(422, "tools_do_not_load", str(error)) from error
        except SandboxFailure as failure:
            raise _failed(failure) from failure
        finally:
            self.opening -= 1
        if self.draining:
            session.close()
            raise Refusal(503, "draining", "this service is about to stop", retry_after_s=5)
        name = secrets.token_urlsafe(24)
        self.sessions[name] = OpenSession(tenant, AsyncSession(session, self._threads), request.refuse)
        return json.dumps({"session": name, "mode": request.mode, "idle_timeout": self.config.idle_timeout_s}).encode()

    async def _call(self, tenant: str, body: bytes, name: str) -> bytes:
        held = self._session(tenant, name)
        fields = object_of(body, CALL_KEYS)
        function, arguments = text(fields, "name"), fields.get("arguments", {})
        if not isinstance(arguments, dict):
            raise invalid("arguments: expected an object")
        most = self.config.max_timeout_s
        timeout_s = min(seconds(fields, "timeout", most), most)
        if held.busy:
            raise Refusal(409, "busy", "this session is in a call; it takes one at a time", retry_after_s=1)
        began = time.monotonic()
        held.busy = True
        try:
            result = held.refuse(function, arguments)
            if result is None:
                result = await held.session.call(function, arguments, timeout_s)
        except EnvError as error:  # mode "process" loads for every call
            raise Refusal(422, "tools_do_not_load", str(error)) from error
        except SandboxFailure as failure:
            if self.sessions.pop(name, None) is not None:
                held.session.close()
            raise _failed(failure) from failure
        finally:
            held.busy, held.used_at = False, time.monotonic()
        self.metrics.called("session", result.status, time.monotonic() - began)
        return _ENCODER.encode(
            {
                "status": result.status,
                "value": result.value,
                "stdout": result.stdout,
                "error_type": result.error_type,
                "error_message": result.error_message,
            }
        ).encode("ascii")

    def _close(self, tenant: str, name: str) -> None:
        self._session(tenant, name)
        self.sessions.pop(name).session.close()

    def _session(self, tenant: str, name: str) -> OpenSession:
        held = self.sessions.get(name)
        if held is None or not hmac.compare_digest(held.tenant.encode("latin-1"), tenant.encode("latin-1")):
            raise Refusal(404, "no_session", "there is no such session; it may have been closed for being idle")
        return held

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)


async def _rest(message: dict[str, Any], receive: Any, limit: int) -> bytes:
    """A body that did not come in one piece."""
    pieces, size = [], 0
    while True:
        if message["type"] != "http.request":
            raise Gone
        piece = message.get("body", b"")
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise too_large(limit)
        if not message.get("more_body"):
            return b"".join(pieces)
        message = await receive()


def _only(method: str, *allowed: str) -> None:
    if method not in allowed:
        raise Refusal(405, "method_not_allowed", f"expected {allowed[0]}", (b"allow", ", ".join(allowed).encode()))


def _route(path: str) -> str:
    """What a path counts as, where the request was not carried out."""
    if path.startswith("/sessions/"):
        return "call" if path.endswith("/call") else "close"
    return path[1:] if path in ("/execute", "/sessions", "/health", "/metrics") else "other"


_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))  # made once, as in wire.py


def too_large(limit: int) -> Refusal:
    return Refusal(413, "too_large", f"the body is longer than {limit} bytes", close=True)


def _failed(failure: SandboxFailure) -> Refusal:
    log.warning("%s", failure)
    return Refusal(503, "sandbox_failure", f"no fault of the tools: {failure}", retry_after_s=1)
