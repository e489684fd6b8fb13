"""The ASGI application of `recall-env serve`: ReCall's `/execute`, and sessions that are opened, called and closed.

A raw ASGI application: no framework stands between the socket and the jail. It never queues: what cannot start now is
refused with a status and Retry-After. Running it (socket, signals, draining) is service_http.py's. docs/serve.md
tells the same to whoever calls it.
"""

import hmac
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from recall_env.sandbox import execute
from recall_env.sandbox.broker import Broker
from recall_env.sandbox.limits import CEILING, Limits
from recall_env.sandbox.service_backend import Backend, ServiceConfig, draining, log
from recall_env.sandbox.service_execute import Execute
from recall_env.sandbox.service_metrics import CONTENT_TYPE, ServiceMetrics
from recall_env.sandbox.service_requests import Gone, Refusal
from recall_env.sandbox.service_sessions import Sessions
from recall_env.sandbox.session import Pool

JSON = b"application/json"
TOKEN_CHARS = 1024
SPARE_THREADS = 8  # beside one for each call that may be in flight


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
        self.rung, self.in_flight = rung, 0
        broker = broker or Broker({})
        self.metrics = ServiceMetrics(self, broker)
        threads = ThreadPoolExecutor(self.config.max_in_flight + SPARE_THREADS, thread_name_prefix="recall-serve")
        self._backend = Backend(pool, self.config, broker, ceiling, threads, self.metrics)
        self.execute, self.sessions = Execute(self._backend), Sessions(self._backend)
        self._tokens = tuple(token.encode() for token in tokens)

    @property
    def draining(self) -> bool:
        return self._backend.draining

    def drain(self) -> None:
        """Take no new work from now on."""
        self._backend.draining = True

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path, close = scope["path"], False
        try:
            if path == "/execute":
                route, status, kind = "execute", 200, JSON
                body = await self._admit(scope, receive, self.execute)
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
        self.execute.warm.expire(oldest)
        self.sessions.expire(oldest)

    def close(self) -> None:
        """End all sessions, those in mid-call too: their calls become sandbox failures. The pool stays."""
        self.drain()
        self.execute.close()
        self.sessions.close_all()

    def join(self) -> None:
        """Wait for the threads; after the pool was closed there is nothing that could keep them."""
        self._backend.threads.shutdown(wait=True, cancel_futures=True)

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
            return "sessions", 201, JSON, await self._admit(scope, receive, self.sessions.open)
        parts = path.split("/")
        if len(parts) == 4 and parts[1] == "sessions" and parts[3] == "call":
            _only(method, "POST")
            return "call", 200, JSON, await self._admit(scope, receive, self.sessions.call, parts[2])
        if len(parts) == 3 and parts[1] == "sessions":
            _only(method, "DELETE")
            self.sessions.close(self._tenant(scope), parts[2])
            return "close", 204, JSON, b""
        raise Refusal(404, "not_found", f"there is no {path[:100]}; there are /execute, /sessions, /health, /metrics")

    async def _admit(self, scope: dict[str, Any], receive: Any, work: Any, *arguments: str) -> bytes:
        """`work(tenant, request body, ...)` for somebody who may ask, when there is room for it now."""
        tenant = self._tenant(scope)
        if scope["method"] != "POST":
            raise Refusal(405, "method_not_allowed", "expected POST", (b"allow", b"POST"))
        if self.draining:
            raise draining()
        limit = self.config.max_body_bytes
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > limit:  # the parser lets nothing but digits through
                raise _too_large(limit)
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
                raise _too_large(limit)
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
            raise _too_large(limit)
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


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "too_large", f"the body is longer than {limit} bytes", close=True)
